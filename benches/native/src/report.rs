//! The report: what was measured, as `benches/README.md` describes it, and as a table to read.
//!
//! Never measures, and decides nothing but whether a target was met.

use std::collections::BTreeMap;

use serde::Serialize;

/// Increased when a reader would misunderstand.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
pub struct Report {
    schema: u32,
    suite: &'static str,
    scale: String,
    rounds: usize,
    machine: Vec<(&'static str, String)>,
    versions: BTreeMap<String, String>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    suite: &'static str,
    pub row: String,
    title: String,
    unit: &'static str,
    better: Better,
    ours: Spread,
    peers: BTreeMap<String, Spread>,
    against: Option<String>,
    ratio: Option<Spread>,
    target: Option<Target>,
    met: Option<bool>,
    note: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
}

#[derive(Clone, Copy, Serialize)]
pub struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

/// What was aimed at; one of the two is enough.
#[derive(Clone, Serialize)]
pub struct Target {
    pub text: &'static str,
    pub ratio_min: Option<f64>,
    pub ours_max: Option<f64>,
}

/// A row as it was measured: a figure of each round.
pub struct Measured {
    pub row: &'static str,
    pub title: String,
    pub unit: &'static str,
    pub better: Better,
    pub ours: Vec<f64>,
    pub peers: BTreeMap<&'static str, Vec<f64>>,
    /// A peer, or a row of our own as `row:…` with its figures.
    pub against: Option<(String, Vec<f64>)>,
    pub target: Option<Target>,
    pub note: Option<String>,
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_unstable_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = match figures.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => figures[middle],
            _ => f64::midpoint(figures[middle - 1], figures[middle]),
        };
        let end = |figure: Option<&f64>| figure.copied().unwrap_or(f64::NAN);
        Spread { median, min: end(figures.first()), max: end(figures.last()) }
    }
}

impl From<Measured> for Row {
    fn from(measured: Measured) -> Self {
        let Measured { row, title, unit, better, ours, peers, against, target, note } = measured;
        let quotient = |(ours, other): (&f64, &f64)| match better {
            Better::Higher => ours / other,
            Better::Lower => other / ours,
        };
        let ratio = against.as_ref().filter(|(_, figures)| !figures.is_empty());
        let ratio = ratio.map(|(_, figures)| Spread::of(ours.iter().zip(figures).map(quotient).collect()));
        let ours = Spread::of(ours);
        let met = target.as_ref().map(|target| {
            let ratio = ratio.map(|ratio| ratio.median);
            target.ratio_min.zip(ratio).is_some_and(|(least, ratio)| ratio >= least)
                || target.ours_max.is_some_and(|most| ours.median <= most)
        });
        Row {
            suite: "native",
            row: row.to_owned(),
            title,
            unit,
            better,
            ours,
            peers: peers.into_iter().map(|(name, figures)| (name.to_owned(), Spread::of(figures))).collect(),
            against: against.map(|(name, _)| name),
            ratio,
            target,
            met,
            note,
        }
    }
}

impl Report {
    pub fn new(scale: String, rounds: usize, versions: BTreeMap<String, String>, rows: Vec<Row>) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
        let machine = vec![("cpu", processor()), ("cores", cores.to_string()), ("os", system)];
        Report { schema: SCHEMA, suite: "native", scale, rounds, machine, versions, rows }
    }

    pub fn print(&self) {
        for Row { row, title, unit, ours, peers, ratio, target, met, note, against, .. } in &self.rows {
            println!("{row}: {title}");
            println!("    {:<16}{}", "persistency", in_words(ours, unit));
            for (name, figures) in peers {
                println!("    {name:<16}{}", in_words(figures, unit));
            }
            if let (Some(ratio), Some(against)) = (ratio, against) {
                let Spread { median, min, max } = ratio;
                println!("    {:<16}{median:.2} ({min:.2} to {max:.2}) against {against}", "ratio");
            }
            if let (Some(target), Some(met)) = (target, met) {
                println!("    {:<16}{}: {}", "target", target.text, if *met { "met" } else { "MISSED" });
            }
            if let Some(note) = note {
                println!("    {note}");
            }
        }
    }
}

fn in_words(Spread { median, min, max }: &Spread, unit: &str) -> String {
    format!("{} {unit} ({} to {})", round(*median), round(*min), round(*max))
}

/// Three digits that count.
fn round(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("unknown", |(_, name)| name).trim().to_owned()
}
