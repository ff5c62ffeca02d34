//! `fhirvest conformance`.

use std::fs;

use camino::Utf8PathBuf;
use fhirvest_flattener::conformance::run_file;
use fhirvest_jobs::run::Exit;
use serde_json::{Map, Value};

use crate::{arguments::Conformance, failure::Failure, output};

/// Runs every test file of a folder: one line a failed test, the counts at the end, and the report where it is wanted.
pub(crate) fn conformance(arguments: &Conformance) -> Result<Exit, Failure> {
    let mut report = Map::new();
    let (mut passed, mut failed) = (0_usize, 0_usize);
    for path in test_files(arguments)? {
        let text = fs::read_to_string(&path).map_err(|error| Failure::io(&path, &error))?;
        let file = run_file(&text).map_err(|error| Failure::usage(format!("{path}: no JSON test file: {error}")))?;
        for test in &file.tests {
            match &test.failure {
                None => passed += 1,
                Some(reason) => {
                    failed += 1;
                    output::data(&format!("{path}: {}: {reason}", test.name))?;
                }
            }
        }
        report.insert(path.file_name().unwrap_or(path.as_str()).to_owned(), file.to_json());
    }
    if let Some(path) = &arguments.report {
        let text = format!("{:#}\n", Value::Object(report));
        fs::write(path, text).map_err(|error| Failure::io(path, &error))?;
    }
    output::data(&format!("{passed} passed, {failed} failed"))?;
    Ok(if failed == 0 { Exit::Done } else { Exit::Incomplete })
}

/// The test files of the folder, by name. A folder without any is a mistake: nothing tested is nothing passed.
fn test_files(arguments: &Conformance) -> Result<Vec<Utf8PathBuf>, Failure> {
    let entries = arguments.dir.read_dir_utf8().map_err(|error| Failure::io(&arguments.dir, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Failure::io(&arguments.dir, &error))?.into_path();
        // A report that was written here earlier is not a test.
        let is_report = arguments.report.as_ref().is_some_and(|report| report.file_name() == path.file_name());
        if path.extension() == Some("json") && !is_report {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(Failure::usage(format!("{}: no test files (*.json) in it", arguments.dir)));
    }
    paths.sort();
    Ok(paths)
}
