//! The data dictionary says what the shipped views say.

use std::process::Command;

use crate::harness::workspace;

#[test]
fn the_data_dictionary_is_that_of_the_views() {
    let made = Command::new(std::env::var_os("FHIRVEST_PYTHON").unwrap_or_else(|| "python3".into()))
        .arg(workspace().join("docs/tables.py"))
        .arg(env!("CARGO_BIN_EXE_fhirvest"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let kept = std::fs::read(workspace().join("docs/tables.md")).unwrap();
    assert!(made.stdout == kept, "docs/tables.md is out of date: make tables");
    let text = String::from_utf8(kept).unwrap();
    let undescribed: Vec<&str> = text.lines().filter(|line| line.ends_with("|  |")).collect();
    assert_eq!(undescribed, Vec::<&str>::new());
}

/// Every column of a shareable view says its type and what it holds.
fn check(select: &serde_json::Value, file: &str) {
    for column in select["column"].as_array().into_iter().flatten() {
        for key in ["name", "path", "type", "description"] {
            assert!(column[key].is_string(), "{file}: {column} has no {key}");
        }
    }
    for key in ["select", "unionAll"] {
        select[key].as_array().into_iter().flatten().for_each(|inner| check(inner, file));
    }
}

#[test]
fn every_column_has_its_type_and_description() {
    let mut files = 0;
    for guide in ["plan-net", "formulary", "patient-access"] {
        for entry in std::fs::read_dir(workspace().join("config/views").join(guide)).unwrap() {
            let path = entry.unwrap().path();
            let view: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            view["select"].as_array().unwrap().iter().for_each(|select| check(select, path.to_str().unwrap()));
            files += 1;
        }
    }
    assert!(files > 90, "{files}");
}
