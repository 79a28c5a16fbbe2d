//! The native quickstart as a user runs it: answers, digest, and that it can be run again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// The digest of `data/README.md` over the files in this repository. The script `.ci/e2e/digest.mjs`
/// computes it from the text alone.
const DIGEST: &str = "29225d3a3b2c5ef9d68ae7295934ba5cdb56c7a4c82107eaa662f9a5e2fef290";

fn demo(root: &Path, data: &Path, json: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_persistency-demo"))
        .args([Path::new("--root"), root, Path::new("--data"), data, Path::new("--json"), json])
        .output()
        .unwrap()
}

#[test]
fn the_quickstart_answers_from_what_it_stored_also_when_it_is_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let json = directory.path().join("native.json");
    for _ in 0..2 {
        let output = demo(&directory.path().join("root"), &data, &json);
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        assert_eq!(report["digest"], DIGEST);
        assert_eq!(report["rows"], 70_175);
        assert_eq!([&report["greek"], &report["emoticons"], &report["blocks"]], [135, 10, 327]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(DIGEST) && text.contains("PERSON WITH FOLDED HANDS"), "{text}");
    }
}

#[test]
fn the_quickstart_says_in_words_what_it_could_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent");
    let output = demo(&directory.path().join("root"), &absent, &directory.path().join("native.json"));
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("UnicodeData.txt"), "{text}");
    assert!(!directory.path().join("root").exists(), "nothing is created before the data has been read");
}
