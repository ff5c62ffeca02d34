//! All nine APIs of the portal, each by a job of its own, against the sandbox that plays them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    harness::{Home, workspace},
    layout,
};

/// The same folder's sensitive lake, with `all.` in front of a table counting over its sources.
fn sensitive(home: &Home, sql: &str) -> Vec<Value> {
    home.duckdb_in("lake-sensitive", sql)
}

fn count(rows: &[Value]) -> u64 {
    rows[0]["n"].as_u64().unwrap()
}

/// One query for the rows of many tables.
fn counting(tables: &BTreeSet<String>) -> String {
    let one = |table: &String| format!("SELECT '{table}' AS name, count(*) AS n FROM \"all\".{table}");
    tables.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ")
}

/// The tables without rows.
fn empty(counts: &[Value]) -> Vec<&str> {
    assert!(counts.len() > 20, "{counts:?}");
    counts.iter().filter(|row| row["n"] == 0).map(|row| row["name"].as_str().unwrap()).collect()
}

/// Table names of the shipped views of a guide.
fn tables(guide: &str) -> BTreeSet<String> {
    let folder = workspace().join("config/views").join(guide);
    let name = |path: std::path::PathBuf| {
        let view: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        view["name"].as_str().unwrap().to_owned()
    };
    std::fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap().path())).collect()
}

#[test]
fn nine_apis_fill_every_table_of_the_three_guides() {
    let home = Home::new();
    let jobs = workspace().join("jobs");
    let done = home.run(&["--jobs", jobs.to_str().unwrap(), "run"]).expect(0);

    // Every API of the catalogue has a job; Wholecare is the same API with another sign-in.
    let named: BTreeSet<String> = std::fs::read_dir(&jobs)
        .unwrap()
        .filter_map(|entry| {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            text.lines().find_map(|line| Some(line.strip_prefix("api = \"")?.trim_end_matches('"').to_owned()))
        })
        .collect();
    let listed = home.run(&["apis", "--json"]).expect(0).report();
    let listed: BTreeSet<String> =
        listed.as_array().unwrap().iter().map(|one| one["api"].as_str().unwrap().to_owned()).collect();
    let without: Vec<&String> = listed.difference(&named).filter(|id| !id.ends_with("-wholecare")).collect();
    assert_eq!(without, Vec::<&String>::new());
    assert_eq!(named.len(), 9, "{named:?}");

    let public: BTreeSet<String> = tables("plan-net").union(&tables("formulary")).cloned().collect();
    assert_eq!(empty(&home.duckdb(&counting(&public))), Vec::<&str>::new());
    let persons = tables("patient-access");
    let referred = ["practitioner", "organization", "location"].map(str::to_owned);
    let all: BTreeSet<String> = persons.iter().cloned().chain(referred).collect();
    assert_eq!(empty(&sensitive(&home, &counting(&all))), Vec::<&str>::new());
    // Nothing about persons is in the lake that everybody may open. (`coverage` over all sources is that of the runs.)
    let public = home.duckdb(
        "SELECT DISTINCT view_name AS name FROM duckdb_views() WHERE NOT internal AND schema_name NOT IN ('main', 'all')",
    );
    let public: BTreeSet<&str> = public.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(persons.iter().all(|table| !public.contains(table.as_str())), "{public:?}");

    // Every type of every API came whole.
    for (rows, expected) in [
        (home.duckdb("SELECT count(*) AS n FROM \"all\"._resources WHERE status NOT IN ('complete', 'empty')"), 1),
        (sensitive(&home, "SELECT count(*) AS n FROM \"all\"._resources WHERE status NOT IN ('complete', 'empty')"), 0),
    ] {
        // The second generation of the formulary guide has no List.
        assert_eq!(count(&rows), expected);
    }
    // And every file of every table is laid out as promised.
    let files = layout::check(&home, "lake") + layout::check(&home, "lake-sensitive");
    assert!(files > 100, "{files}");
    // Whoever is made up by the sandbox is named nowhere.
    for name in ["sample-1000", "member-1000", "patron-1000", "wy-rx-1000"] {
        assert!(!done.stderr.contains(name), "{name} in {}", done.stderr);
    }
}

#[test]
fn both_generations_of_the_formulary_guide_fill_the_same_tables() {
    let home = Home::new();
    let jobs = workspace().join("jobs");
    home.run(&["--jobs", jobs.to_str().unwrap(), "run", "formulary", "formulary-stu1"]).expect(0);
    let stu = home.duckdb(
        "SELECT source, list(DISTINCT formulary_stu) AS stu FROM (
            SELECT source, formulary_stu FROM \"all\".formulary_plan UNION ALL SELECT source, formulary_stu FROM \"all\".formulary_drug
            UNION ALL SELECT source, formulary_stu FROM \"all\".formulary_cost_share) GROUP BY source ORDER BY source",
    );
    let stu: Vec<(&str, &Value)> = stu.iter().map(|row| (row["source"].as_str().unwrap(), &row["stu"][0])).collect();
    assert_eq!(stu, [("formulary-stu1", &Value::from(1)), ("highmark-esi-formulary", &Value::from(2))]);
    assert_eq!(home.count("\"all\"._resources WHERE quarantined > 0"), 0);
    let quarantined: Vec<String> =
        home.files("lake/archive").into_iter().filter(|path| path.contains("quarantine")).collect();
    assert_eq!(quarantined, Vec::<String>::new());
    // The same drugs on both: what the sandbox lists in one generation it lists in the other.
    let drugs =
        home.duckdb("SELECT formulary_stu, count(DISTINCT rxnorm) AS drugs FROM \"all\".formulary_drug GROUP BY ALL");
    assert_eq!(drugs.len(), 2);
    assert_eq!(drugs[0]["drugs"], drugs[1]["drugs"]);
}
