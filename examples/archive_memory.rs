//! How much memory archiving takes of a job of 1,000,000 rows of 100 bytes, beside one of 100,000.
//!
//! Each phase is a process of its own, whose peak is what the system says of it at its end. What comes out
//! has to have the digest of what went in, and no phase may take much more for ten times the rows.
//!
//! `cargo run --release --example archive_memory --features archive,cli`, on Linux, for it reads `/proc`.

#[path = "archive_server/digest.rs"]
mod digest;

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use persistency::archive::{Archive, ArchiveOptions, ArchiveReader, RestoreTo, Store};
use persistency::object_stores::ObjectStores;
use persistency::{Job, Persistency, key};

use crate::digest::digest;

type Outcome<T> = Result<T, Box<dyn Error>>;

const PAYLOAD_BYTES: usize = 100;
/// So much more a phase may take of the larger job: an index of the write-ahead log, a base's list of pieces.
const GROWTH_MAX_MB: f64 = 32.0;
/// Bytes that an import is given at one time.
const PART_BYTES: usize = 64 * 1024;

#[derive(Parser)]
struct Program {
    /// Rows of the smaller and of the larger job
    #[arg(long, num_args = 2, default_values_t = [100_000, 1_000_000])]
    rows: Vec<u64>,
    /// Is this phase
    #[arg(long, hide = true, requires = "place")]
    phase: Option<Phase>,
    #[arg(long, hide = true)]
    place: Option<PathBuf>,
}

/// In the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Phase {
    /// One row at a time, without an archive.
    Write,
    /// The rows that are there, as a base.
    ArchiveRows,
    /// One row at a time, each commit archived.
    WriteArchived,
    VerifyRows,
    VerifyCommits,
    RestoreRows,
    RestoreCommits,
    Export,
    Import,
    /// Of everything that has been written; compares.
    Digests,
}

fn main() -> Outcome<()> {
    let Program { rows, phase, place } = Program::parse();
    match (phase, place) {
        (Some(phase), Some(place)) => {
            futures_executor::block_on(phase.run(&place, rows[0]))?;
            println!("{}", peak_kb()?);
            Ok(())
        }
        _ => compare(&rows),
    }
}

/// Runs all phases over both jobs.
fn compare(rows: &[u64]) -> Outcome<()> {
    let places = [tempfile::tempdir()?, tempfile::tempdir()?];
    println!("peak of memory in MB {:>12} {:>12} rows", rows[0], rows[1]);
    let mut grown = Vec::new();
    for phase in Phase::value_variants() {
        let peak = |number: usize| phase.peak_mb(places[number].path(), rows[number]);
        let (small, large) = (peak(0)?, peak(1)?);
        println!("{:<20} {small:>12.1} {large:>12.1}", phase.name());
        if large > small + GROWTH_MAX_MB {
            grown.push(phase.name());
        }
    }
    match grown.is_empty() {
        true => Ok(()),
        false => Err(format!("takes more the more rows there are: {}", grown.join(", ")).into()),
    }
}

impl Phase {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Runs it in a process of its own.
    fn peak_mb(self, place: &Path, rows: u64) -> Outcome<f64> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--phase", &self.name(), "--rows", &rows.to_string(), "0", "--place"]).arg(place);
        let done = command.stderr(std::process::Stdio::inherit()).output()?;
        if !done.status.success() {
            return Err(format!("{} has failed", self.name()).into());
        }
        let kilobytes: f64 = String::from_utf8(done.stdout)?.trim().parse()?;
        Ok(kilobytes / 1024.0)
    }

    async fn run(self, place: &Path, rows: u64) -> Outcome<()> {
        let root = Persistency::open(place.join("jobs"))?;
        let store: Arc<dyn Store> = Arc::new(ObjectStores::directory(place.join("store"))?);
        let reader = async |name: &str| ArchiveReader::open(Arc::clone(&store), name).await;
        let export = place.join("export");
        match self {
            Phase::Write => write(&root.open_job("rows").await?, rows).await?,
            Phase::ArchiveRows => {
                let job = root.open_job("rows").await?;
                Archive::attach(&job, store, ArchiveOptions::new()).await?.close().await?;
            }
            Phase::WriteArchived => {
                let job = root.open_job("commits").await?;
                let archive = Archive::attach(&job, store, ArchiveOptions::new()).await?;
                write(&job, rows).await?;
                archive.close().await?;
            }
            Phase::VerifyRows => assert_eq!(reader("rows").await?.verify().await?.rows, rows),
            Phase::VerifyCommits => assert_eq!(reader("commits").await?.verify().await?.commits, rows),
            Phase::RestoreRows | Phase::RestoreCommits => {
                let (name, id) = match self {
                    Phase::RestoreRows => ("rows", "rows-restored"),
                    _ => ("commits", "commits-restored"),
                };
                reader(name).await?.restore(&root, id, RestoreTo::Latest, |_| {}).await?;
            }
            Phase::Export => {
                let mut file = BufWriter::new(File::create(export)?);
                let mut parts = root.open_job("rows").await?.export().await?;
                while let Some(part) = parts.next().await {
                    file.write_all(&part?)?;
                }
                file.flush()?;
            }
            Phase::Import => {
                let mut file = BufReader::new(File::open(export)?);
                let mut import = root.import_job("rows-imported").await?;
                let mut part = vec![0; PART_BYTES];
                loop {
                    let read = file.read(&mut part)?;
                    if read == 0 {
                        break;
                    }
                    import.push(&part[..read]).await?;
                }
                import.finish().await?;
            }
            Phase::Digests => {
                let mut digests = Vec::new();
                for id in ["rows", "commits", "rows-restored", "commits-restored", "rows-imported"] {
                    digests.push(digest(&root.open_job(id).await?).await?);
                }
                assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
            }
        }
        root.close().await?;
        Ok(())
    }
}

/// Puts so many rows, in no order, as names are.
async fn write(job: &Job, rows: u64) -> persistency::Result<()> {
    let mut payload = [0; PAYLOAD_BYTES];
    for number in 0..rows {
        // Other bytes in each, half of them as in text.
        let mut state = number;
        for byte in &mut payload {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = b'a' + (state >> 60) as u8;
        }
        let name = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64;
        job.persist_put("row", key!(name)?, payload).await?;
    }
    job.flush().await?;
    Ok(())
}

/// The most memory that this process has had.
fn peak_kb() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    Ok(peak.ok_or("/proc/self/status says nothing of a peak")?.trim().parse()?)
}
