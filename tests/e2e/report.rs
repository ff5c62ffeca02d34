//! The page about a run has the numbers of its JSON, needs nothing from elsewhere, and the help desk's text nothing of a
//! person; the numbers for a monitoring system and the notices of a run's end.

use serde_json::Value;

use crate::harness::{Home, Sandbox, workspace};

fn shipped() -> String {
    workspace().join("jobs").to_str().unwrap().to_owned()
}

/// Two nights, the second of which stops early: types that are partial, tables that are held back.
fn with_problems(home: &Home) -> String {
    home.run(&["--jobs", &shipped(), "run", "provider-directory"]).expect(0);
    let second = home.run(&["--jobs", &shipped(), "run", "provider-directory", "--max-pages", "1", "--json"]).expect(5);
    second.report()["run"].as_str().unwrap().to_owned()
}

#[test]
fn every_number_of_the_page_is_that_of_the_json() {
    let home = Home::new();
    let run = with_problems(&home);
    let done = home.run(&["report", &run, "-o", "report.html", "--json"]).expect(0);
    let document: Value = serde_json::from_str(&done.stdout).unwrap();
    let page = std::fs::read_to_string(home.path("report.html")).unwrap();
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
    assert!(compared > 300, "{compared} numbers");
    for part in
        ["Finished, but not complete", "held back", "page-limit", "Rows that each of the last 2 run(s) published"]
    {
        assert!(page.contains(part), "{part}");
    }
    for elsewhere in ["<script", "<link", "<img", "@import", "src=", "href=", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
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
    let run = crate::harness::Done::from(output).expect(3).report()["run"].as_str().unwrap().to_owned();
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
    home.write(
        "jobs/a.toml",
        &format!(
            "version = 1\napi = \"highmark/provider-directory\"\nviews = [\"plan-net/location\"]\n[resources.Location]\n[notify]\nwhen = \
             \"always\"\ncommand = [\"sh\", \"-c\", \"cat > {}; exit 9\"]\nwebhook = {{ url = \"http://127.0.0.1:1/\" }}\n",
            told.display()
        ),
    );
    let done = home.run(&["run", "--json", "--metrics-dir", "prom"]).expect(0);
    assert!(done.stderr.contains("the notification did not arrive"), "{}", done.stderr);
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
    let output = home.fhirvest(&["--jobs", &shipped(), "-v", "--log-format", "json", "run", "provider-directory"]);
    let done = crate::harness::Done::from({ output }.output().unwrap()).expect(0);
    let lines: Vec<Value> = done.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let page = lines.iter().find(|line| line["message"] == "page").unwrap_or_else(|| panic!("{}", done.stderr));
    assert_eq!(page["span"]["job"], "provider-directory", "{page}");
    assert!(page["span"]["run"].as_str().unwrap().ends_with("Z-provider-directory"), "{page}");
    assert!(page["type"].is_string() && page["partition"].is_string(), "{page}");
}
