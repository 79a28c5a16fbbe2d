//! Archives of browsers' jobs on a server, and back: serves a directory to the npm package, restores natively what a
//! browser has shipped, and ships natively what a browser restores.
//!
//! `cargo run --example archive_server --features archive,cli -- serve --directory backups`

mod digest;
mod server;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use persistency::archive::{Archive, ArchiveOptions, ArchiveReader, MemoryStore, RestoreTo, Store};
use persistency::object_stores::ObjectStores;
use persistency::{JobOptions, OpenMode, Persistency, Result};

use crate::digest::digest;
use crate::server::{Server, serve};

#[derive(Parser)]
#[command(about = "Keeps archives of jobs, restores them, and ships to them")]
struct Program {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Serves archives over HTTP on this machine
    Serve {
        #[command(flatten)]
        kept: Kept,
        /// The port on 127.0.0.1; 0 for any
        #[arg(long, default_value_t = 8378)]
        port: u16,
        /// What requests have to bring as `Authorization: Bearer TOKEN`
        #[arg(long)]
        token: Option<String>,
        /// The origin whose pages may ask
        #[arg(long, default_value = "*")]
        origin: String,
        /// Bytes of an object at most
        #[arg(long, default_value_t = 256 * 1024 * 1024)]
        max_bytes: usize,
    },
    /// Restores an archive as a job, and prints the digest of its rows
    Restore {
        #[command(flatten)]
        kept: Kept,
        #[command(flatten)]
        which: Which,
        /// The last commit that is restored; the latest by default
        #[arg(long)]
        seq: Option<u64>,
    },
    /// Ships a job to an archive, and prints the digest of its rows
    Ship {
        #[command(flatten)]
        kept: Kept,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Args)]
struct Kept {
    /// Where archives are kept; in memory if nothing is said
    #[arg(long)]
    directory: Option<PathBuf>,
}

#[derive(Args)]
struct Which {
    /// The archive's name: the job's id in the browser, unless it was attached under another name
    #[arg(long)]
    archive: String,
    /// The directory of native jobs
    #[arg(long)]
    root: PathBuf,
    /// The native job's id
    #[arg(long)]
    job: String,
}

impl Kept {
    /// Anything that the crate `object_store` reaches can stand here: S3, GCS, Azure.
    fn store(self) -> Result<Arc<dyn Store>> {
        Ok(match self.directory {
            Some(directory) => Arc::new(ObjectStores::directory(directory)?),
            None => Arc::new(MemoryStore::new()),
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Program::parse().what).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("archive_server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(what: What) -> std::result::Result<(), Box<dyn std::error::Error>> {
    match what {
        What::Serve { kept, port, token, origin, max_bytes } => {
            let server = Server::new(kept.store()?, token, &origin, max_bytes)?;
            serve(server, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), |address| {
                println!("archives are at http://{address}/");
            })
            .await?;
        }
        What::Restore { kept, which, seq } => {
            let root = Persistency::open(&which.root)?;
            let reader = ArchiveReader::open(kept.store()?, &which.archive).await?;
            let to = seq.map_or(RestoreTo::Latest, RestoreTo::Seq);
            let restored = reader.restore(&root, &which.job, to, |_| {}).await?;
            let job = root.open_job(&which.job).await?;
            println!("restored as of seq {}", restored.seq);
            println!("digest {}", digest(&job).await?);
            root.close().await?;
        }
        What::Ship { kept, which } => {
            let root = Persistency::open(&which.root)?;
            let exists = JobOptions::new().mode(OpenMode::MustExist);
            let job = root.open_job_with(&which.job, exists).await?;
            let options = ArchiveOptions::new().name(which.archive);
            let archive = Archive::attach(&job, kept.store()?, options).await?;
            println!("archived up to seq {}", archive.close().await?);
            println!("digest {}", digest(&job).await?);
            root.close().await?;
        }
    }
    Ok(())
}
