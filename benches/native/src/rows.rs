//! Rows: what is measured, in what order, and what was aimed at.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::ours::{self, Ours};
use crate::peers::{Fjall, Redb, Rusqlite, Store, TokioRusqlite};
use crate::report::{Better, Measured, Row, Target};
use crate::work::{Beside, Done, KEY_BYTES, Work};

const OURS: &str = "persistency";
const RUSQLITE: &str = "rusqlite";
const TOKIO_RUSQLITE: &str = "tokio-rusqlite";
const REDB: &str = "redb";
const FJALL: &str = "fjall";
const ALL: [&str; 5] = [OURS, RUSQLITE, TOKIO_RUSQLITE, REDB, FJALL];
/// Those that a caller can leave while they work.
const AWAITED: [&str; 2] = [OURS, TOKIO_RUSQLITE];
const ALONE: [&str; 4] = [OURS, RUSQLITE, REDB, FJALL];

const PAYLOAD: usize = 100;
const BATCH: u64 = 1000;
const SCAN: u64 = 1000;
const CALLERS: u64 = 64;
/// Keys that are read over and over in a store of many more.
const HOT: u64 = 100_000;

/// How much is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Quick,
    Default,
    Long,
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scale::Quick => "quick",
            Scale::Default => "default",
            Scale::Long => "long",
        })
    }
}

/// One row: its name and words, the work, who does it, with whom we compare, and the target.
struct Plan {
    row: &'static str,
    title: String,
    work: Work,
    who: &'static [&'static str],
    against: &'static str,
    target: Option<Target>,
    note: Option<String>,
    /// Whether it needs a store in which there is nothing yet.
    fresh: bool,
}

pub struct Bench {
    scale: Scale,
    rounds: usize,
    only: Vec<String>,
    stores: Vec<String>,
    dir: PathBuf,
    runtime: Arc<Runtime>,
    peer: Option<PathBuf>,
}

/// The stores of a round, by their names.
type Stores = BTreeMap<&'static str, Box<dyn Store>>;

fn ratio(text: &'static str, least: f64) -> Option<Target> {
    Some(Target { text, ratio_min: Some(least), ours_max: None })
}

fn most(text: &'static str, most: f64) -> Option<Target> {
    Some(Target { text, ratio_min: None, ours_max: Some(most) })
}

impl Bench {
    pub fn new(scale: Scale, rounds: usize, [only, stores]: [Vec<String>; 2], dir: PathBuf) -> Self {
        let runtime = Arc::new(Runtime::new().expect("a runtime"));
        let peer = TokioRusqlite::program();
        if peer.is_none() {
            eprintln!("tokio-rusqlite is left out: its program has not been built beside this one");
        }
        Bench { scale, rounds, only, stores, dir, runtime, peer }
    }

    pub fn measure(&self) -> Vec<Row> {
        // First, while the process has no memory that it has used and not given back: jobs would get that.
        let idle = self.measure_idle();
        let mut rows = self.measure_plans();
        rows.extend(self.measure_large().into_iter().map(Row::from));
        rows.extend(self.measure_log().into_iter().map(Row::from));
        rows.extend(idle.into_iter().map(Row::from));
        rows.extend(self.measure_disk().into_iter().map(Row::from));
        rows
    }

    fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == row)
    }

    /// A number for each scale.
    fn of<T>(&self, quick: T, default: T, long: T) -> T {
        match self.scale {
            Scale::Quick => quick,
            Scale::Default => default,
            Scale::Long => long,
        }
    }

    fn open(&self, name: &'static str, dir: &Path) -> Option<Box<dyn Store>> {
        if !self.stores.is_empty() && !self.stores.iter().any(|store| store == name) {
            return None;
        }
        fs::create_dir_all(dir).expect("a directory");
        Some(match name {
            OURS => Box::new(Ours::open(&self.runtime, dir)),
            RUSQLITE => Box::new(Rusqlite::open(dir)),
            TOKIO_RUSQLITE => Box::new(TokioRusqlite::open(self.peer.as_deref()?, dir)),
            REDB => Box::new(Redb::open(dir)),
            _ => Box::new(Fjall::open(dir)),
        })
    }

    fn plans(&self) -> Vec<Plan> {
        let rows = self.of(50_000, 100_000, 100_000);
        let ms = self.of(150, 400, 600);
        let plan = |row, title: String, work, who, against, target| Plan {
            row,
            title,
            work,
            who,
            against,
            target,
            note: None,
            fresh: false,
        };
        let latency = |row, words: &str, beside| Plan {
            row,
            title: format!("99th percentile of a get, {words}"),
            work: Work::Latency { among: rows, beside, ms: ms * 2 },
            who: &AWAITED,
            against: "",
            target: None,
            note: None,
            fresh: false,
        };
        vec![
            Plan {
                fresh: true,
                ..plan(
                    "load",
                    format!("load {rows} rows in batches of {BATCH}, and one flush"),
                    Work::Load { rows, batch: BATCH, payload: PAYLOAD, scattered: false },
                    &ALL,
                    RUSQLITE,
                    ratio("≥ 0.9 × rusqlite", 0.9),
                )
            },
            plan(
                "get-one",
                format!("get one row of {rows} after another, random, one caller"),
                Work::Gets { callers: 1, from: 0, among: rows, step: 1, ms },
                &ALL,
                RUSQLITE,
                ratio("≥ 0.8 × rusqlite, 1 wanted", 0.8),
            ),
            plan(
                "get-64",
                format!("get rows of {rows}, random, {CALLERS} callers"),
                Work::Gets { callers: CALLERS, from: 0, among: rows, step: 1, ms },
                &AWAITED,
                TOKIO_RUSQLITE,
                ratio("≥ 2 × tokio-rusqlite", 2.0),
            ),
            plan(
                "scan",
                format!("scan {SCAN} rows of {rows} from a random one on"),
                Work::Scans { rows: SCAN, from: 0, among: rows, ms },
                &ALL,
                RUSQLITE,
                ratio("≥ 0.9 × rusqlite", 0.9),
            ),
            plan(
                "count",
                format!("count {rows} rows as a range"),
                Work::Counts { rows, ms },
                &ALL,
                RUSQLITE,
                ratio("≥ 0.9 × rusqlite", 0.9),
            ),
            latency("get-p99-alone", "alone", Beside::Nothing),
            latency("get-p99-loading", "while another caller loads the same job", Beside::Loading),
            latency("get-p99-scanning", "while another caller scans the same job", Beside::Scanning),
            plan(
                "put-acked-one",
                "put one row after another, each committed before the next".to_owned(),
                Work::Acked { callers: 1, durable: false, ms },
                &ALL,
                TOKIO_RUSQLITE,
                ratio("≥ 1.5 × tokio-rusqlite", 1.5),
            ),
            Plan {
                fresh: true,
                ..plan(
                    "put-acked-64",
                    format!("puts of {CALLERS} callers, each committed before its caller's next"),
                    Work::Acked { callers: CALLERS, durable: false, ms },
                    &AWAITED,
                    TOKIO_RUSQLITE,
                    ratio("≥ 10 × tokio-rusqlite", 10.0),
                )
            },
            Plan {
                fresh: true,
                ..plan(
                    "put-acked-64-durable",
                    "the same, each on the medium before its caller's next".to_owned(),
                    Work::Acked { callers: CALLERS, durable: true, ms: ms * 2 },
                    &AWAITED,
                    TOKIO_RUSQLITE,
                    ratio("≥ 30 × tokio-rusqlite", 30.0),
                )
            },
            Plan {
                fresh: true,
                note: Some(format!("rusqlite, redb and fjall load the same rows in batches of {BATCH}.")),
                ..plan(
                    "persist-put",
                    format!("{rows} persist_put from one caller, and one flush"),
                    Work::Puts { rows, payload: PAYLOAD },
                    &ALONE,
                    RUSQLITE,
                    ratio("≥ 0.6 × rusqlite loading in batches", 0.6),
                )
            },
            Plan {
                fresh: true,
                ..plan(
                    "load-scattered",
                    format!("load {rows} rows in no order, in batches of {BATCH}, and one flush"),
                    Work::Load { rows, batch: BATCH, payload: PAYLOAD, scattered: true },
                    &ALL,
                    RUSQLITE,
                    None,
                )
            },
        ]
    }

    fn measure_plans(&self) -> Vec<Row> {
        let plans = self.plans();
        let wanted = |plan: &Plan| {
            // What others compare with has to be there.
            let alone = plan.row == "get-p99-alone" && self.only.iter().any(|row| row.starts_with("get-p99"));
            self.wants(plan.row) || alone
        };
        if !plans.iter().any(wanted) {
            return Vec::new();
        }
        let mut figures: Vec<BTreeMap<&'static str, Vec<f64>>> = vec![BTreeMap::new(); plans.len()];
        for round in 0..self.rounds {
            let dir = self.dir.join(format!("round-{round}"));
            let mut stores = Stores::new();
            for (index, plan) in plans.iter().enumerate() {
                // The first row's stores are those that the others use.
                if !wanted(plan) && index > 0 {
                    continue;
                }
                eprintln!("round {} of {}: {}", round + 1, self.rounds, plan.row);
                for turn in 0..plan.who.len() {
                    let name = plan.who[(turn + round) % plan.who.len()];
                    let done = if plan.fresh {
                        let own = dir.join(name).join(plan.row);
                        let Some(mut store) = self.open(name, &own) else { continue };
                        let done = store.run(&plan.work);
                        if index == 0 {
                            stores.insert(name, store);
                        } else {
                            store.close();
                            fs::remove_dir_all(own).expect("removing a store");
                        }
                        done
                    } else {
                        stores.get_mut(name).and_then(|store| store.run(&plan.work))
                    };
                    if let Some(done) = done {
                        figures[index].entry(name).or_default().push(figure(&done));
                    }
                }
            }
            stores.into_values().for_each(Store::close);
            fs::remove_dir_all(dir).expect("removing the stores");
        }
        let alone = figures[plans.iter().position(|plan| plan.row == "get-p99-alone").unwrap_or(0)].clone();
        let measured = plans.into_iter().zip(figures).filter(|(plan, _)| wanted(plan));
        measured.map(|(plan, figures)| in_report(plan, figures, &alone).into()).collect()
    }

    /// A store of many rows against one of few, both read where they are hot.
    fn measure_large(&self) -> Vec<Measured> {
        let names = ["large-get", "large-get-spread", "large-scan"];
        if !names.iter().any(|row| self.wants(row)) {
            return Vec::new();
        }
        let rows: u64 = self.of(300_000, 1_000_000, 10_000_000);
        let ms = self.of(150, 500, 1000);
        let open = |rows: u64| {
            let dir = self.dir.join(format!("large-{rows}"));
            eprintln!("loading {rows} rows");
            let [mut ours, mut rusqlite] = [OURS, RUSQLITE].map(|name| {
                let store = self.open(name, &dir.join(name));
                store.expect("these rows need both stores")
            });
            let load = Work::Load { rows, batch: BATCH, payload: PAYLOAD, scattered: false };
            ours.run(&load);
            rusqlite.run(&load);
            [ours, rusqlite]
        };
        let mut few = open(HOT);
        let mut many = open(rows);
        let from = rows / 2 - HOT / 2;
        let spread = rows / HOT;
        let work = [
            (
                names[0],
                "get of a hot stretch of 100000 rows",
                Work::Gets { callers: 1, from: 0, among: HOT, step: 1, ms },
                Work::Gets { callers: 1, from, among: HOT, step: 1, ms },
            ),
            (
                names[1],
                "get of 100000 hot rows spread over all",
                Work::Gets { callers: 1, from: 0, among: HOT, step: 1, ms },
                Work::Gets { callers: 1, from: 0, among: HOT, step: spread, ms },
            ),
            (
                names[2],
                "scan of 1000 rows in a hot stretch of 100000",
                Work::Scans { rows: SCAN, from: 0, among: HOT, ms },
                Work::Scans { rows: SCAN, from, among: HOT, ms },
            ),
        ];
        let mut measured = Vec::new();
        for (row, words, small, large) in work {
            if !self.wants(row) {
                continue;
            }
            let (mut ours, mut peer, mut base) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..self.rounds {
                let rate =
                    |store: &mut Box<dyn Store>, work| store.run(work).map_or(f64::NAN, |done| done.rate());
                base.push(rate(&mut few[0], &small));
                ours.push(rate(&mut many[0], &large));
                // Of the peer the quotient alone is of interest.
                peer.push(rate(&mut many[1], &large));
            }
            measured.push(Measured {
                row,
                title: format!("{words}, in {rows} rows against {HOT}"),
                unit: if row == "large-scan" { "rows/s" } else { "ops/s" },
                better: Better::Higher,
                ours,
                peers: BTreeMap::from([(RUSQLITE, peer)]),
                against: Some((format!("row:the same in {HOT} rows"), base)),
                target: ratio("within 1.5 ×", 1.0 / 1.5),
                note: (rows < 10_000_000).then(|| format!("Of {rows} rows; --long takes 10000000.")),
            });
        }
        few.into_iter().chain(many).for_each(Store::close);
        measured
    }

    /// A job whose commit log is kept against one without a log.
    fn measure_log(&self) -> Vec<Measured> {
        let rows = self.of(50_000, 100_000, 100_000);
        let ms = self.of(300, 600, 1000);
        let acked = |callers| Work::Acked { callers, durable: false, ms };
        let plans = [
            ("log-put-acked-one", "put one row after another, each committed", "ops/s", acked(1)),
            ("log-put-acked-64", "puts of 64 callers, each committed", "ops/s", acked(CALLERS)),
            ("log-persist-put", "puts accepted one by one", "rows/s", Work::Puts { rows, payload: PAYLOAD }),
            (
                "log-load",
                "rows in batches of 1000",
                "rows/s",
                Work::Load { rows, batch: BATCH, payload: PAYLOAD, scattered: false },
            ),
        ];
        let mut measured = Vec::new();
        for (row, words, unit, work) in plans {
            if !self.wants(row) {
                continue;
            }
            eprintln!("{row}");
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for round in 0..self.rounds {
                for turn in 0..2 {
                    let logged = (turn + round) % 2 == 0;
                    let dir = self.dir.join(row);
                    fs::create_dir_all(&dir).expect("a directory");
                    let open = if logged { Ours::open_logged } else { Ours::open };
                    let mut store = Box::new(open(&self.runtime, &dir));
                    let rate = store.run(&work).map_or(f64::NAN, |done| done.rate());
                    store.close();
                    fs::remove_dir_all(dir).expect("removing a store");
                    if logged { &mut with } else { &mut without }.push(rate);
                }
            }
            measured.push(Measured {
                row,
                title: format!("{words}, with the commit log kept"),
                unit,
                better: Better::Higher,
                ours: with,
                peers: BTreeMap::new(),
                against: Some(("row:the same without a log".to_owned(), without)),
                target: ratio("≥ 0.85 × the same without a log", 0.85),
                note: None,
            });
        }
        measured
    }

    /// Open jobs that nobody uses.
    fn measure_idle(&self) -> Vec<Measured> {
        let rows = ["idle-bytes", "idle-threads", "idle-descriptors", "idle-first-read"];
        if !rows.iter().any(|row| self.wants(row)) {
            return Vec::new();
        }
        let jobs = self.of(200, 1000, 10_000);
        eprintln!("opening {jobs} jobs");
        let dir = self.dir.join("idle");
        let idle = ours::idle(&self.runtime, &dir, jobs);
        fs::remove_dir_all(&dir).ok();
        let (figures, mut note) = match idle {
            Ok(idle) => ([idle.bytes, idle.threads, idle.descriptors, idle.first_read_ms], None),
            Err(error) => ([f64::MAX; 4], Some(format!("Failed: {error}"))),
        };
        if jobs < 10_000 && note.is_none() {
            note = Some(format!("Of {jobs} jobs; --long opens 10000."));
        }
        let targets = [
            ("bytes", most("≤ 8 KiB", 8192.0)),
            ("threads", most("none", 0.01)),
            ("descriptors", most("none", 0.01)),
            ("ms", most("≤ 2 ms", 2.0)),
        ];
        let words = ["memory of", "threads of", "descriptors of", "99th percentile of the first get from"];
        let all = rows.into_iter().zip(words).zip(figures).zip(targets);
        let all = all.map(|(((row, words), figure), (unit, target))| Measured {
            row,
            title: format!("{words} one of {jobs} open jobs after 5 s without use"),
            unit,
            better: Better::Lower,
            ours: vec![figure],
            peers: BTreeMap::new(),
            against: None,
            target,
            note: note.clone(),
        });
        all.filter(|measured| self.wants(measured.row)).collect()
    }

    /// What rows occupy that were loaded in no order.
    fn measure_disk(&self) -> Vec<Measured> {
        let share = self.of(4, 1, 1);
        let kinds = [("disk-100", 100, 100_000), ("disk-1k", 1000, 20_000), ("disk-64k", 64 * 1024, 400)];
        let mut measured = Vec::new();
        for (row, payload, rows) in kinds {
            if !self.wants(row) {
                continue;
            }
            eprintln!("{row}");
            let rows = rows / share;
            let mut figures = BTreeMap::new();
            for name in ALONE {
                let dir = self.dir.join(row).join(name);
                let Some(mut store) = self.open(name, &dir) else { continue };
                store.run(&Work::Load { rows, batch: BATCH, payload, scattered: true });
                store.close();
                let raw = rows as f64 * (KEY_BYTES + payload) as f64;
                figures.insert(name, vec![bytes_of(&dir) as f64 / raw]);
                fs::remove_dir_all(dir).expect("removing a store");
            }
            let ours = figures.remove(OURS).unwrap_or_default();
            measured.push(Measured {
                row,
                title: format!(
                    "bytes on disk per byte of rows, {rows} payloads of {payload} bytes, in no order"
                ),
                unit: "bytes",
                better: Better::Lower,
                ours,
                peers: figures,
                against: None,
                target: most("≤ 1.4", 1.4),
                note: None,
            });
        }
        measured
    }
}

fn figure(done: &Done) -> f64 {
    done.p99_us.unwrap_or_else(|| done.rate())
}

fn in_report(
    plan: Plan,
    mut figures: BTreeMap<&'static str, Vec<f64>>,
    alone: &BTreeMap<&'static str, Vec<f64>>,
) -> Measured {
    let ours = figures.remove(OURS).unwrap_or_default();
    let (unit, better) = match plan.work {
        Work::Latency { .. } => ("µs", Better::Lower),
        Work::Load { .. } | Work::Puts { .. } | Work::Scans { .. } | Work::Counts { .. } => {
            ("rows/s", Better::Higher)
        }
        Work::Acked { .. } | Work::Gets { .. } => ("ops/s", Better::Higher),
    };
    let (against, target) = match plan.work {
        Work::Latency { beside: Beside::Nothing, .. } => (None, None),
        Work::Latency { .. } => {
            let text = "≤ 5 × alone, or ≤ 100 µs";
            let base = alone.get(OURS).cloned().unwrap_or_default();
            let target = Target { text, ratio_min: Some(0.2), ours_max: Some(100.0) };
            (Some(("row:get-p99-alone".to_owned(), base)), Some(target))
        }
        _ => {
            let peer = figures.get(plan.against).cloned();
            (peer.map(|figures| (plan.against.to_owned(), figures)), plan.target)
        }
    };
    let Plan { row, title, note, .. } = plan;
    Measured { row, title, unit, better, ours, peers: figures, against, target, note }
}

/// Bytes of everything in a directory but our own job that has no part in it.
fn bytes_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let of = |entry: fs::DirEntry| match entry.metadata().expect("metadata") {
        metadata if metadata.is_dir() => bytes_of(&entry.path()),
        _ if entry.file_name().to_string_lossy().starts_with("strict") => 0,
        // What a sparse file occupies is what it costs.
        metadata => occupied(&metadata),
    };
    entries.map(of).sum()
}

#[cfg(unix)]
fn occupied(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn occupied(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}
