//! Every query of the cookbook answers, over the lakes of all jobs.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Home, workspace};

/// The SQL of each block, with the number of the question that it answers.
fn recipes(text: &str) -> Vec<(u32, &str)> {
    let sections = text.split("\n## ").skip(1);
    let numbered = sections.map(|section| (section.split_once('.').unwrap().0.parse().unwrap(), section));
    numbered
        .flat_map(|(number, section)| {
            let blocks = section.split("```sql\n").skip(1);
            blocks.map(move |block| (number, block.split_once("```").unwrap().0))
        })
        .collect()
}

/// The rows of a recipe, run where `make run` runs.
fn rows(home: &Home, lake: &str, sql: &str) -> Vec<Value> {
    let python = std::env::var_os("FHIRVEST_PYTHON")
        .map_or_else(|| workspace().join("target/venv/bin/python"), std::path::PathBuf::from);
    let output = Command::new(python)
        .arg(workspace().join("tests/support/query.py"))
        .args(["--views", lake, sql])
        .current_dir(home.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{sql}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_recipe_answers() {
    let home = Home::new();
    let jobs = workspace().join("jobs");
    home.run(&["--jobs", jobs.to_str().unwrap(), "run"]).expect(0);
    // A second night, for whoever joined and left.
    home.run(&["--jobs", jobs.to_str().unwrap(), "run", "provider-directory"]).expect(0);
    let text = std::fs::read_to_string(workspace().join("docs/cookbook.md")).unwrap();
    let recipes = recipes(&text);
    let questions: std::collections::BTreeSet<u32> = recipes.iter().map(|(number, _)| *number).collect();
    assert_eq!(questions, (1..=9).collect());
    for (number, sql) in recipes {
        let lake = if number == 9 { "lake-sensitive/views.sql" } else { "lake/views.sql" };
        let found = rows(&home, lake, sql);
        assert!(!found.is_empty(), "question {number}: no rows\n{sql}");
        let has = |test: &dyn Fn(&Value) -> bool| assert!(found.iter().any(test), "question {number}: {found:?}");
        match number {
            1 => has(&|row| row["accepting"].is_string() && row["city"].is_string()),
            2 => has(&|row| row["clinicians"].as_u64() > Some(1) && row["zip5"].as_str().unwrap().len() == 5),
            3 => {
                let mut signals: Vec<&str> = found.iter().map(|row| row["signal"].as_str().unwrap()).collect();
                signals.dedup();
                assert!(signals.len() >= 5, "{signals:?}");
            }
            // The sandbox is the same on both nights.
            4 => {
                assert!(found.iter().all(|row| row["joined"] == 0 && row["left_it"] == 0), "{found:?}");
            }
            6 => has(&|row| row["kind"] == "compounding"),
            9 => {
                // Worked out by hand: the first member never forgets the first drug, and pays 45 dollars for a brand
                // or 5 for a generic each time; of the others one fill was reversed or refused, and two were 24 days late.
                let first = |row: &&Value| row["patient_id"] == "wy-rx-100001";
                let own: Vec<&Value> = found.iter().filter(first).collect();
                let covered: Vec<f64> = own.iter().map(|row| row["days_covered"].as_f64().unwrap()).collect();
                let mut fills: Vec<u64> = own.iter().map(|row| row["fills"].as_u64().unwrap()).collect();
                fills.sort_unstable();
                assert_eq!(fills, [11, 11, 12], "{own:?}");
                assert!(covered.iter().filter(|share| (**share - 1.0).abs() < 1e-9).count() == 1, "{own:?}");
                let late = 330.0_f64 / 408.0;
                assert_eq!(covered.iter().filter(|share| (**share - late).abs() < 0.001).count(), 2, "{own:?}");
            }
            _ => {}
        }
    }
}
