//! The page about a run has the numbers of its JSON, needs nothing from elsewhere, and the help desk's text nothing of a
//! person; the numbers for a monitoring system and the notices of a run's end.

use serde_json::Value;

use crate::{
    harness::{Done, Home, Sandbox, workspace},
    history::{first_world, free_port, night, run_of, second_world, world},
};

fn shipped() -> String {
    workspace().join("jobs").to_str().unwrap().to_owned()
}

/// Two nights, the second of which stops early: types that are partial, tables that are held back.
pub(crate) fn with_problems(home: &Home) -> String {
    home.run(&["--jobs", &shipped(), "run", "provider-directory"]).expect(0);
    let second = home.run(&["--jobs", &shipped(), "run", "provider-directory", "--max-pages", "1", "--json"]).expect(5);
    second.report()["run"].as_str().unwrap().to_owned()
}

/// The report of a run as JSON, with its page.
fn reported(home: &Home, run: &str) -> (Value, String) {
    let done = home.run(&["--jobs", &shipped(), "report", run, "-o", "report.html", "--json"]).expect(0);
    let page = std::fs::read_to_string(home.path("report.html")).unwrap();
    (serde_json::from_str(&done.stdout).unwrap(), page)
}

/// Compares every number of a page with its place in the JSON; how many there are.
fn compare_numbers(document: &Value, page: &str) -> usize {
    let mut compared = 0;
    for element in page.split("<data ").skip(1) {
        let (attributes, rest) = element.split_once('>').unwrap();
        let shown = rest.split_once("</data>").unwrap().0;
        let attribute = |name: &str| {
            let after = attributes.split_once(&format!("{name}=\""))?.1;
            Some(after.split_once('"').unwrap().0.to_owned())
        };
        let path = attribute("data-path").unwrap();
        let json = document.pointer(&path).unwrap_or_else(|| panic!("{path} is not in the JSON"));
        let number = json.as_f64().unwrap_or_else(|| panic!("{path} is {json}"));
        // The last bit of a share may be lost when it is read.
        let value: f64 = attribute(" value").unwrap().parse().unwrap();
        assert!((value - number).abs() <= 1e-12 * number.abs(), "{path}: {value} and {number}");
        let digits: String = shown.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
        let unit = if attribute("data-unit").is_some() { 100.0 } else { 1.0 };
        let decimals = digits.split_once('.').map_or(0, |(_, after)| after.len());
        assert_eq!(digits, format!("{:.decimals$}", number * unit), "{path}: {shown}");
        compared += 1;
    }
    compared
}

#[test]
fn every_number_of_the_page_is_that_of_the_json() {
    let home = Home::new();
    let run = with_problems(&home);
    let (document, page) = reported(&home, &run);
    let compared = compare_numbers(&document, &page);
    assert!(compared > 300, "{compared} numbers");
    for part in [
        "Finished, but not complete",
        "held back",
        "page-limit",
        "Rows that analysts saw after each of the last 2 run(s)",
        "they were made again from the archive",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for elsewhere in ["<script", "<link", "<img", "@import", "src=", "href=", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
}

#[test]
fn changes_are_the_rows_of_the_table_of_changes_and_a_flattening_again_tells_none() {
    let (home, port) = (Home::new(), free_port());
    let report = |run: &str| {
        let done = home.run(&["report", run, "-o", "report.html", "--json"]).expect(0);
        let document: Value = serde_json::from_str(&done.stdout).unwrap();
        let page = std::fs::read_to_string(home.path("report.html")).unwrap();
        assert!(compare_numbers(&document, &page) > 30);
        (document, page)
    };
    world(&home, &first_world(), 1);
    let first = run_of(&night(&home, port, "", &[]).expect(0));
    world(&home, &second_world(), 2);
    let second = run_of(&night(&home, port, "", &[]).expect(0));
    for run in [&first, &second] {
        let told = home.duckdb(&format!(
            "SELECT r.resource_type, count(*) FILTER (change = 'added') AS added, count(*) FILTER (change = 'changed') AS \
             changed, count(*) FILTER (change = 'removed') AS removed FROM acme._resources r LEFT JOIN acme._changes c ON \
             c.resource_type = r.resource_type AND c.snapshot = r.run WHERE r.run = '{run}' GROUP BY ALL ORDER BY 1"
        ));
        assert_eq!(report(run).0["run"]["changes"], Value::Array(told));
    }
    let again = run_of(&home.run(&["rerun", "nightly", "--json", "-q"]).expect(0));
    let (document, page) = report(&again);
    assert!(page.contains(&format!("None: what the server sent is that of {second}")), "{page}");
    let rows: Vec<&Value> =
        document["history"].as_array().unwrap().iter().map(|one| &one["rows"]["location"]).collect();
    assert_eq!(rows, [40, 40, 40], "a table that stayed as it was is seen as before");
    assert_eq!(document["quality"]["not_looked_at"], serde_json::json!([]));

    // A night that brings less: nothing of it is shown, so nothing of it changed.
    world(&home, &first_world(), 3);
    let third = run_of(&night(&home, port, "publish = \"never\"", &[]).expect(5));
    let (document, page) = report(&third);
    assert_eq!(document["run"].get("changes"), None);
    assert!(page.contains("Analysts see what they saw before"), "{page}");
}

#[test]
fn what_is_held_back_is_judged_as_if_it_were_shown() {
    let home = Home::new();
    let night = |publish: &str| {
        let mut command = home.fhirvest(&["--jobs", &shipped(), "run", "provider-directory", "--json"]);
        let done = Done::from(command.env("FHIRVEST__PUBLISH", publish).output().unwrap());
        let run = run_of(&done);
        reported(&home, &run).0
    };
    let (shown, held) = (night("complete"), night("never"));
    let tables = held["run"]["tables"].as_array().unwrap().len();
    assert!(tables > 10 && held["quality"]["from_archive"].as_array().unwrap().len() == tables, "{held}");
    assert_eq!(shown["quality"]["from_archive"], serde_json::json!([]));
    for what in ["columns", "npi", "references", "roles"] {
        assert_eq!(held["quality"][what], shown["quality"][what], "{what}");
        assert!(!held["quality"][what].is_null() && held["quality"][what] != serde_json::json!([]), "{what}");
    }
    // Ages are those of another second.
    let aged = |one: &Value| one["quality"]["staleness"].as_array().unwrap().len();
    assert!(aged(&held) > 5 && aged(&held) == aged(&shown));

    // Without the archive it is said that nothing can be said.
    std::fs::remove_dir_all(home.path("lake/archive")).unwrap();
    let (document, page) = reported(&home, held["run"]["run"].as_str().unwrap());
    assert_eq!(document["quality"]["not_looked_at"].as_array().unwrap().len(), tables);
    assert!(page.contains("its rows are not kept any more"), "{page}");
}

#[test]
fn what_the_page_says_of_the_data_is_what_duckdb_finds() {
    let home = Home::new();
    let run = home.run(&["--jobs", &shipped(), "run", "provider-directory", "--json"]).expect(0).report();
    let document: Value =
        serde_json::from_str(&home.run(&["report", run["run"].as_str().unwrap(), "--json"]).expect(0).stdout).unwrap();
    let found = |list: &str, table: &str, column: Option<&str>| {
        let all = document["quality"][list].as_array().unwrap();
        let fits = |one: &&Value| one["table"] == table && column.is_none_or(|column| one["column"] == column);
        all.iter().find(fits).unwrap_or_else(|| panic!("{list} {table}: {all:?}")).clone()
    };
    let schema = "highmark_provider_directory";
    let count = |sql: &str| home.duckdb(&sql.replace("FROM ", &format!("FROM {schema}.")))[0]["n"].as_u64().unwrap();
    assert_eq!(
        found("references", "practitioner_role", Some("practitioner_id"))["dangling"],
        count(
            "SELECT count(*) AS n FROM practitioner_role r WHERE practitioner_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM \
             practitioner p WHERE p.id = r.practitioner_id)"
        )
    );
    assert_eq!(
        document["quality"]["roles"]["without_location"],
        count(
            "SELECT count(*) AS n FROM practitioner_role r WHERE NOT EXISTS (SELECT 1 FROM role_location l WHERE l.role_id = r.id)"
        )
    );
    assert_eq!(
        document["quality"]["roles"]["without_network"],
        count(
            "SELECT count(*) AS n FROM practitioner_role r WHERE NOT EXISTS (SELECT 1 FROM role_network l WHERE l.role_id = r.id)"
        )
    );
    assert_eq!(
        found("columns", "practitioner", Some("npi"))["nulls"],
        count("SELECT count(*) AS n FROM practitioner WHERE npi IS NULL")
    );
    // Luhn over 80840 and the NPI: the doubled digits are those at odd places from the right.
    let luhn = "SELECT count(*) AS n FROM practitioner WHERE npi IS NOT NULL AND (NOT regexp_full_match(npi, '[12][0-9]{9}') OR \
         list_sum(list_transform(range(1, 16), lambda i: CASE WHEN i % 2 = 0 THEN substr('80840' || npi, i, 1)::INT ELSE \
         (substr('80840' || npi, i, 1)::INT * 2) // 10 + (substr('80840' || npi, i, 1)::INT * 2) % 10 END)) % 10 <> 0)";
    let luhn = luhn.replace("i % 2 = 0", "(15 - i) % 2 = 0");
    assert_eq!(found("npi", "practitioner", None)["invalid"], count(&luhn));
    let ages = found("staleness", "practitioner", None);
    let sum: u64 = ages["buckets"].as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap()).sum();
    assert_eq!(sum + ages["unknown"].as_u64().unwrap(), count("SELECT count(*) AS n FROM practitioner"));
    let begun = run["started_at"].as_str().unwrap();
    let before = count(&format!(
        "SELECT count(*) AS n FROM practitioner WHERE last_updated <= TIMESTAMPTZ '{begun}' - INTERVAL 731 DAYS"
    ));
    assert_eq!(ages["buckets"][5]["count"], before, "{ages}");
}

#[test]
fn the_help_desk_is_told_code_and_time_and_nothing_of_a_person() {
    let home = Home::new();
    let sandbox = Sandbox::start(&home, &["--size", "5", "--api-key-env", "SANDBOX_KEY"]);
    let base = sandbox.url("highmark/provider-directory");
    home.write(
        "jobs/acme.toml",
        &format!(
            "version = 1\nviews = []\n[source]\nname = \"acme\"\nbase_url = \"{base}\"\nauth = {{ kind = \"api-key\", header = \
             \"x-api-key\", key = {{ env = \"ACME_KEY\" }} }}\n[resources.Location]\nparams = {{ name = \"Jane Roe 4711\" }}\n"
        ),
    );
    let output = home.fhirvest(&["run", "--json"]).env("ACME_KEY", "wr0ng-s3cret").output().unwrap();
    let run = Done::from(output).expect(3).report()["run"].as_str().unwrap().to_owned();
    let text = home.run(&["support", &run]).expect(0).stdout;
    for part in ["test (local)", "acme", "Location: response code 401, Unauthorized", " UTC"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for part in ["wr0ng", "Jane", "4711", "x-api-key"] {
        assert!(!text.contains(part), "{part}: {text}");
    }
    home.run(&["support", "no-such-run"]).expect(2);
    home.run(&["report", "no-such-run", "-o", "x.html"]).expect(2);
}

#[test]
fn a_text_file_has_the_numbers_and_a_program_gets_the_report_whatever_it_does_with_it() {
    let home = Home::new();
    let told = home.path("told.json");
    // It takes the notice and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    home.write(
        "jobs/a.toml",
        &format!(
            "version = 1\napi = \"highmark/provider-directory\"\nviews = [\"plan-net/location\"]\n[resources.Location]\n[notify]\nwhen = \
             \"always\"\ncommand = [\"sh\", \"-c\", \"cat > {}; exit 9\"]\ntimeout = \"5s\"\nwebhook = {{ url = \"http://{}/\" }}\n",
            told.display(),
            silent.local_addr().unwrap()
        ),
    );
    let done = home.run(&["run", "--json", "--metrics-dir", "prom"]).expect(0);
    assert_eq!(done.stderr.matches("the notification did not arrive").count(), 2, "{}", done.stderr);
    let notice: Value = serde_json::from_str(&std::fs::read_to_string(told).unwrap()).unwrap();
    assert_eq!(notice, done.report());
    let text = std::fs::read_to_string(home.path("prom/fhirvest-a.prom")).unwrap();
    for line in ["fhirvest_run_exit_code{job=\"a\"} 0", "fhirvest_type_coverage_ratio{job=\"a\",type=\"Location\"} 1"] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    crate::schedule::check_metrics(&text);
}

#[test]
fn log_lines_as_json_say_whose_they_are() {
    let home = Home::new();
    let lines = |arguments: &[&str], code: i32| -> Vec<Value> {
        let done = home.run(&[&["--jobs", &shipped(), "--log-format", "json"], arguments].concat()).expect(code);
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        done.stderr.lines().map(line).collect()
    };
    let with = |lines: &[Value], message: &str| {
        lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{message}: {lines:?}")).clone()
    };
    let all = lines(&["-v", "run", "provider-directory"], 0);
    let page = with(&all, "page");
    assert_eq!(page["span"]["job"], "provider-directory", "{page}");
    assert!(page["span"]["run"].as_str().unwrap().ends_with("Z-provider-directory"), "{page}");
    assert!(page["type"].is_string() && page["partition"].is_string(), "{page}");
    let over = with(&all, "run over");
    assert_eq!((&over["exit_code"], &over["run"]), (&serde_json::json!(0), &page["span"]["run"]));
    // What goes wrong is a line like all others.
    let failed = lines(&["-q", "run", "provider-directory", "--max-pages", "1"], 5);
    assert_eq!((failed.len(), &failed[0]["level"], &failed[0]["exit_code"]), (1, &"ERROR".into(), &5.into()));
    let refused = lines(&["run", "no-such-job"], 2);
    assert_eq!(refused.last().unwrap()["exit_code"], 2, "{refused:?}");
}

#[test]
fn a_quiet_night_that_went_well_says_nothing_and_a_bad_one_says_what_is_wrong() {
    let home = Home::new();
    let night = |more: &[&str]| home.run(&[&["--jobs", &shipped(), "-q", "run", "provider-directory"], more].concat());
    let well = night(&[]).expect(0);
    assert_eq!((well.stdout.as_str(), well.stderr.as_str()), ("", ""));
    let bad = night(&["--max-pages", "1"]).expect(5);
    assert!(bad.stderr.contains("held: Location is partial") && bad.stderr.contains("exit code 5"), "{}", bad.stderr);
}
