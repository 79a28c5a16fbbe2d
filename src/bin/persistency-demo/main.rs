//! The quickstart: loads the Unicode characters into a job, opens it anew, and answers from range scans.
//!
//! Uses nothing but the public API. `data/README.md` says what is stored, asked and digested.

mod answers;
mod load;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use persistency::{Job, Persistency, Row};

use answers::Answers;
use load::Source;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The job that holds everything.
const JOB: &str = "unicode";

/// Loads the Unicode Character Database into an embedded key-value store and asks it questions.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the jobs are kept; it may be there already
    #[arg(long, value_name = "DIRECTORY", default_value = "target/demo/root")]
    root: PathBuf,
    /// Where UnicodeData.txt and Blocks.txt are
    #[arg(long, value_name = "DIRECTORY", default_value = "data")]
    data: PathBuf,
    /// Also write the results to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match futures_executor::block_on(run(&Arguments::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("persistency-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let unicode_data = read(&arguments.data.join("UnicodeData.txt"))?;
    let blocks = read(&arguments.data.join("Blocks.txt"))?;
    let source = Source::parse(&unicode_data, &blocks)?;

    let root = Persistency::open(&arguments.root)?;
    let loading = now();
    let rows = store(&root.open_job(JOB).await?, &source).await?;
    let loading = loading.elapsed();
    println!("Loaded {} rows in {}, all of them durable.", HumanCount(rows), speed(rows, loading));
    root.close().await?;

    // Nothing is left in memory: what follows comes from the files.
    let root = Persistency::open(&arguments.root)?;
    let job = root.open_job(JOB).await?;
    println!("Opened {} again at commit {}.", arguments.root.display(), job.info().await?.committed_seq);
    let asking = now();
    let answers = Answers::ask(&job).await?;
    let asking = asking.elapsed();
    root.close().await?;

    print(&answers)?;
    println!("\nScanned {} rows in {}.", HumanCount(answers.scanned), speed(answers.scanned, asking));
    println!("SHA-256 of all answers: {}", answers.digest);
    if let Some(path) = &arguments.json {
        fs::write(path, report(&answers, (rows, loading), asking))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// Loads everything with a progress bar, and waits until it is durable.
async fn store(job: &Job, source: &Source<'_>) -> Result<u64> {
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} rows, {per_sec}")?;
    let bar = ProgressBar::new(source.rows()).with_style(style);
    for batch in source.batches()? {
        let rows = batch.operations().iter().filter(|op| load::is_row(op)).count();
        // Accepted is enough here: order is kept, and the flush tells of any failure.
        job.persist(batch).await?;
        bar.inc(rows as u64);
    }
    job.flush().await?;
    bar.finish_and_clear();
    Ok(source.rows())
}

fn print(answers: &Answers) -> Result<()> {
    println!("\nGreek and Coptic, {} characters in order:", answers.greek.len());
    let symbols: Vec<_> = answers.greek.iter().map(symbol).collect::<Result<_>>()?;
    for line in symbols.chunks(27) {
        println!("  {}", line.join(" "));
    }
    println!("\nThe last ten Emoticons, last first:");
    for row in &answers.emoticons {
        println!("  {}  {}", symbol(row)?, load::name_of(row)?);
    }
    println!("\n{} names start with {:?}, the first three:", answers.names.len(), answers::NAMES);
    for row in answers.names.iter().take(3) {
        println!("  U+{}  {}", String::from_utf8_lossy(&row.payload), answers::name_in_key(row)?);
    }
    println!("\n{} blocks, the three with most lines of UnicodeData.txt:", answers.counts.len());
    let mut largest: Vec<_> = answers.counts.iter().collect();
    largest.sort_by_key(|count| std::cmp::Reverse(count.characters));
    for count in largest.iter().take(3) {
        println!("  {:>7}  {}", HumanCount(count.characters).to_string(), count.block);
    }
    Ok(())
}

/// The character itself, or its number where it is none by itself.
fn symbol(row: &Row) -> Result<String> {
    let code = row.key.decode::<i64>()?;
    let symbol = u32::try_from(code).ok().and_then(char::from_u32).filter(|symbol| !symbol.is_control());
    Ok(symbol.map_or_else(|| format!("U+{code:04X}"), String::from))
}

/// The results for programs: the page shows the digest, tests compare it.
fn report(answers: &Answers, (rows, loading): (u64, Duration), asking: Duration) -> String {
    format!(
        "{{\n  \"digest\": \"{}\",\n  \"rows\": {rows},\n  \"loadSeconds\": {:.6},\n  \
         \"scannedRows\": {},\n  \"scanSeconds\": {:.6},\n  \"greek\": {},\n  \"emoticons\": {},\n  \
         \"names\": {},\n  \"blocks\": {}\n}}\n",
        answers.digest,
        loading.as_secs_f64(),
        answers.scanned,
        asking.as_secs_f64(),
        answers.greek.len(),
        answers.emoticons.len(),
        answers.names.len(),
        answers.counts.len(),
    )
}

fn speed(rows: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
    format!("{seconds:.2} s ({} rows/s)", HumanCount((rows as f64 / seconds) as u64))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

#[expect(clippy::disallowed_methods, reason = "a program outside the library that measures itself")]
fn now() -> Instant {
    Instant::now()
}
