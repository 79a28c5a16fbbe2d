//! Benchmark: persistency side by side with raw rusqlite, tokio-rusqlite, redb and fjall.
//!
//! Each round does one row's work with every store, one after another, then the next row's. What is
//! read is checked while it is read, and what was written is counted. `benches/README.md` describes
//! what is written with `--json`.

mod callers;
mod ours;
mod peers;
mod report;
mod rows;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;

use report::Report;
use rows::{Bench, Scale};

/// Measures persistency and its peers, interleaved, and prints medians with their spread.
#[derive(Parser)]
struct Options {
    /// Less of everything: under a minute.
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// Ten million rows and ten thousand jobs: minutes, and gigabytes.
    #[arg(long)]
    long: bool,
    /// Only these rows, by their names.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Only these stores, by their names; what is missing cannot be compared with.
    #[arg(long, value_delimiter = ',')]
    stores: Vec<String>,
    /// How often everything is measured.
    #[arg(long)]
    rounds: Option<usize>,
    /// Where the stores are made, on the medium that is to be measured; removed again.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the results go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let scale = match (options.quick, options.long) {
        (true, _) => Scale::Quick,
        (_, true) => Scale::Long,
        _ => Scale::Default,
    };
    let rounds = options.rounds.unwrap_or(if scale == Scale::Quick { 3 } else { 5 }).max(1);
    let program = std::env::current_exe()?;
    let parent = options.dir.as_deref().or(program.parent()).unwrap_or(".".as_ref());
    let dir = tempfile::Builder::new().prefix("persistency-bench-").tempdir_in(parent)?;
    let bench = Bench::new(scale, rounds, [options.rows, options.stores], dir.path().to_owned());
    let rows = bench.measure();
    let report = Report::new(scale.to_string(), rounds, versions(), rows);
    report.print();
    if let Some(path) = options.json {
        let file = std::fs::File::create(path)?;
        serde_json::to_writer_pretty(file, &report)?;
    }
    dir.close()
}

/// Of us and of every peer, as the lock files name them.
fn versions() -> BTreeMap<String, String> {
    let ours = ["persistency", "rusqlite", "redb", "fjall", "tokio"].map(|name| (LOCK, name));
    let all = ours.into_iter().chain([(PEER_LOCK, "tokio-rusqlite")]);
    let found = all.filter_map(|(lock, name)| {
        let entry = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?.1;
        Some((name.to_owned(), entry.split_once('"')?.0.to_owned()))
    });
    let sqlite = ("sqlite".to_owned(), rusqlite::version().to_owned());
    found.chain([sqlite]).collect()
}

const LOCK: &str = include_str!("../Cargo.lock");
const PEER_LOCK: &str = include_str!("../tokio-rusqlite/Cargo.lock");
