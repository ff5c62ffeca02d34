//! A new user runs every shipped job and opens the lake.

use crate::harness::{Home, workspace};

/// The tables that issue 2 names.
const PLAN_NET: [&str; 12] = [
    "practitioner",
    "practitioner_role",
    "role_specialty",
    "role_location",
    "role_network",
    "organization",
    "network",
    "organization_affiliation",
    "location",
    "healthcare_service",
    "insurance_plan",
    "endpoint",
];

#[test]
fn every_job_runs_out_of_the_box_and_every_table_has_rows() {
    let home = Home::new();
    let jobs = workspace().join("jobs");
    let done = home.run(&["--jobs", jobs.to_str().unwrap(), "run"]).expect(0);
    assert!(done.stderr.contains("next: duckdb -init ./lake/views.sql"), "{}", done.stderr);
    assert_eq!(done.stdout, "", "talk goes to stderr");
    for table in PLAN_NET {
        assert!(home.count(&format!("highmark_provider_directory.{table}")) > 0, "{table}");
    }
    for table in ["formulary_plan", "formulary_drug"] {
        for stu in [1, 2] {
            assert!(home.count(&format!("\"all\".{table} WHERE formulary_stu = {stu}")) > 0, "{table} {stu}");
        }
    }
    // The drug of a second-generation item comes from the table it refers to.
    assert_eq!(home.count("highmark_esi_formulary.formulary_drug WHERE rxnorm IS NULL"), 0);
    assert_eq!(home.count("\"all\"._runs WHERE exit_code = 0"), 4);
    let odd = home.duckdb("SELECT resource_type, status FROM \"all\"._resources WHERE status <> 'complete'");
    assert_eq!(serde_json::to_string(&odd).unwrap(), r#"[{"resource_type":"List","status":"unsupported"}]"#);
    // Nothing staged is left behind.
    let left: Vec<String> = home.files("lake/.fhirvest").into_iter().filter(|path| path.starts_with("runs/")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn the_report_accounts_for_every_resource_once() {
    let home = Home::new();
    let jobs = workspace().join("jobs");
    let report =
        home.run(&["--jobs", jobs.to_str().unwrap(), "run", "provider-directory", "--json"]).expect(0).report();
    for resource in report["resources"].as_array().unwrap() {
        let count = |name: &str| resource["counts"][name].as_u64().unwrap();
        assert_eq!(
            count("received"),
            count("archived") + count("duplicates") + count("variants") + count("quarantined")
        );
        let name = resource["resource_type"].as_str().unwrap();
        for table in report["tables"].as_array().unwrap() {
            let types: Vec<&str> =
                table["resource_types"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
            let number = |key: &str| table[key].as_u64().unwrap();
            assert_eq!(number("resources"), number("flattened") + number("filtered") + number("failed"), "{table}");
            if types == [name] {
                assert_eq!(number("resources"), count("archived"), "{table}");
            }
        }
    }
    // A second night replaces the first, and the history has both.
    home.run(&["--jobs", jobs.to_str().unwrap(), "run", "provider-directory"]).expect(0);
    assert_eq!(home.count("\"all\"._runs"), 2);
    let snapshots = home.duckdb("SELECT DISTINCT snapshot FROM \"all\".practitioner");
    assert_eq!(snapshots.len(), 1);
    assert_ne!(snapshots[0]["snapshot"], report["run"]);
    let listed = home.run(&["runs", "--json"]).expect(0);
    assert_eq!(listed.report().as_array().unwrap().len(), 2);
}

#[test]
fn a_sample_is_never_taken_for_the_whole() {
    let home = Home::new();
    let jobs = workspace().join("jobs");
    let done = home
        .run(&["--jobs", jobs.to_str().unwrap(), "run", "provider-directory", "--max-pages", "1", "--json"])
        .expect(5);
    let report = done.report();
    let state = |table: &str| {
        let tables = report["tables"].as_array().unwrap();
        tables.iter().find(|one| one["table"] == table).unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!((state("practitioner").as_str(), state("endpoint").as_str()), ("held", "published"));
}
