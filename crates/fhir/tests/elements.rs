//! The committed element table is what the generator makes of HL7's definitions.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::PathBuf, process::Command};

#[test]
#[ignore = "needs FHIRVEST_SHARED: make conformance"]
fn the_element_table_is_fresh() {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("FHIRVEST_SHARED").map_or_else(|| here.join("../../../shared"), PathBuf::from);
    let made = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("r4.tsv");
    let status = Command::new("python3")
        .arg(here.join("tools/generate_elements.py"))
        .arg(shared.join("data/r4/elements.ndjson"))
        .arg(&made)
        .status()
        .unwrap();
    assert!(status.success(), "the generator ends with {status}");
    assert!(
        fs::read(made).unwrap() == fs::read(here.join("src/elements/r4.tsv")).unwrap(),
        "src/elements/r4.tsv is not what tools/generate_elements.py makes: run it"
    );
}
