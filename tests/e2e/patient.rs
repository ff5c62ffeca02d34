//! A job about persons: whose data it asks for, and whose it does not.

use serde_json::Value;

use crate::harness::{Home, workspace};

/// The shipped job of Highmark's sample members with these lines under `[patients]`.
fn job(home: &Home, name: &str, patients: &str) {
    let shipped = std::fs::read_to_string(workspace().join("jobs/highmark-sandbox-patient-access.toml")).unwrap();
    let text = shipped.replace("name = \"highmark-sandbox-patient-access\"", &format!("name = \"{name}\""));
    home.write(&format!("jobs/{name}.toml"), &text.replace("[patients]\n", &format!("[patients]\n{patients}\n")));
}

fn patients(home: &Home, lake: &str) -> Vec<Value> {
    let mut sql = String::new();
    for table in ["patient", "coverage", "eob", "condition", "observation", "encounter", "medication_request"] {
        let key = if table == "patient" { "id" } else { "patient_id" };
        let union = if sql.is_empty() { "" } else { " UNION ALL " };
        sql += &format!(
            "{union}SELECT '{table}' AS name, {key} AS patient, count(*) AS n FROM \"all\".{table} GROUP BY ALL"
        );
    }
    home.duckdb_in(lake, &format!("SELECT * FROM ({sql}) ORDER BY ALL"))
}

#[test]
fn only_the_members_of_the_roster_are_asked_for_and_named_nowhere() {
    let home = Home::new();
    let roster = home.write("members.txt", "# who has agreed\nsample-100002\nPatient/sample-100003\n");
    job(&home, "roster", &format!("roster = {:?}", roster.to_str().unwrap()));
    let done = home.run(&["-vv", "run", "roster", "--json"]).expect(0);
    for text in [&done.stderr, &done.stdout] {
        assert!(!text.contains("sample-10000"), "{text}");
    }
    let report = done.report();
    let by_type = |name: &str| {
        let all = report["resources"].as_array().unwrap();
        all.iter().find(|one| one["resource_type"] == name).unwrap().clone()
    };
    let claims = by_type("ExplanationOfBenefit");
    assert_eq!((claims["strategy"].as_str(), claims["status"].as_str()), (Some("patient"), Some("complete")));
    assert_eq!(claims["partitions"], 2, "one search a member");
    assert_eq!(by_type("Practitioner")["strategy"], "id-read");
    let found = patients(&home, "lake-sensitive");
    assert!(found.len() >= 14, "{found:?}");
    for row in &found {
        assert!(["sample-100002", "sample-100003"].contains(&row["patient"].as_str().unwrap()), "{row}");
    }
    // Whom nobody refers to is not read: the sandbox's last practitioner treats none.
    let practitioners = home.duckdb_in("lake-sensitive", "SELECT id FROM \"all\".practitioner ORDER BY id");
    assert!(practitioners.len() > 3 && practitioners.iter().all(|row| row["id"] != "practitioner-7"));
    assert!(!home.path("lake").exists(), "nothing about persons goes to the public lake");
}

#[test]
fn everything_brings_what_the_searches_bring() {
    let (searched, gathered) = (Home::new(), Home::new());
    let ids = "ids = [\"sample-100001\", \"sample-100003\"]";
    job(&searched, "members", ids);
    job(&gathered, "members", &format!("{ids}\neverything = true"));
    searched.run(&["run", "members"]).expect(0);
    let report = gathered.run(&["run", "members", "--json"]).expect(0).report();
    let all = report["resources"].as_array().unwrap();
    let strategy = |name: &str| all.iter().find(|one| one["resource_type"] == name).unwrap()["strategy"].clone();
    assert_eq!((strategy("Patient"), strategy("Condition")), ("everything".into(), "include".into()));
    assert_eq!(patients(&searched, "lake-sensitive"), patients(&gathered, "lake-sensitive"));
}

#[test]
fn mistakes_in_a_roster_are_told_by_their_line_only() {
    let home = Home::new();
    let roster = home.write("members.txt", "sample-100001\nJane Doe, born 1970\n");
    job(&home, "roster", &format!("roster = {:?}", roster.to_str().unwrap()));
    let done = home.run(&["run", "roster"]).expect(2);
    assert!(done.stderr.contains("line 2") && !done.stderr.contains("Jane"), "{}", done.stderr);
    home.write("members.txt", "# nobody\n");
    let done = home.run(&["run", "roster"]).expect(2);
    assert!(done.stderr.contains("names nobody"), "{}", done.stderr);
}

#[test]
fn who_is_no_longer_named_is_gone_from_the_tables() {
    let home = Home::new();
    for members in [&["sample-100001", "sample-100002"][..], &["sample-100002"]] {
        job(&home, "members", &format!("ids = {members:?}\n"));
        // Half of the rows are gone, as they should be.
        home.fhirvest(&["run", "members"]).env("FHIRVEST__MAX_SHRINK", "1").output().unwrap();
        let found = home.duckdb_in("lake-sensitive", "SELECT id FROM \"all\".patient ORDER BY id");
        assert_eq!(found.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(), members);
    }
}
