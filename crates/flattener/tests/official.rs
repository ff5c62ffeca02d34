//! The official tests of SQL on FHIR v2 (FHIR/sql-on-fhir.js), all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, path::PathBuf};

use fhirvest_flattener::conformance::run_file;

#[test]
#[ignore = "needs FHIRVEST_SHARED: make conformance"]
fn all_official_tests_pass() {
    let shared = std::env::var_os("FHIRVEST_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let folder = shared.join("data/sof-tests");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let (mut count, mut failed) = (0, Vec::new());
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let report = run_file(&fs::read_to_string(&path).unwrap()).unwrap();
        count += report.tests.len();
        let wrong = report.tests.into_iter().filter_map(|test| Some((test.name, test.failure?)));
        failed.extend(wrong.map(|(name, reason)| format!("{}: {name}: {reason}", path.display())));
    }
    assert!(failed.is_empty(), "{} of {count} fail:\n{}", failed.len(), failed.join("\n"));
    assert!(count >= 144, "{count} tests found, there are 144");
}

/// Tests in the form of the official ones, of what those leave open.
#[test]
fn our_own_tests_pass() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        for test in run_file(&fs::read_to_string(&path).unwrap()).unwrap().tests {
            assert!(test.failure.is_none(), "{}: {}: {}", path.display(), test.name, test.failure.unwrap());
            count += 1;
        }
    }
    assert!(count >= 20, "{count} tests");
}
