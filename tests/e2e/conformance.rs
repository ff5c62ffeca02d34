//! `fhirvest conformance`: test files in the official form, and the report for the registry of implementations.

use serde_json::{Value, json};

use crate::harness::Home;

fn file(tests: &Value) -> String {
    json!({
        "title": "fixtures", "description": "", "fhirVersion": ["4.0.1"],
        "resources": [
            {"resourceType": "Patient", "id": "a", "birthDate": "1974-12-25", "name": [{"given": ["Jo", "Jay"]}]},
            {"resourceType": "Patient", "id": "b"},
            {"resourceType": "Location", "id": "c"}],
        "tests": tests,
    })
    .to_string()
}

#[allow(clippy::needless_pass_by_value, reason = "a literal at every call")]
fn test(title: &str, path: &str, key: &str, expected: Value) -> Value {
    let column = json!({"name": "c", "path": path});
    let view = json!({"resource": "Patient", "select": [{"column": [column]}]});
    json!({"title": title, "tags": ["shareable"], "view": view, key: expected})
}

#[test]
fn files_are_tested_and_reported_in_the_registrys_form() {
    let home = Home::new();
    let rows = json!([{"c": "Jo Jay"}, {"c": null}]);
    home.write(
        "tests/right.json",
        &file(&json!([
            test("rows in any order", "id", "expect", json!([{"c": "b"}, {"c": "a"}])),
            test("a function", "name.given.join(' ')", "expect", rows),
            test("types are inferred", "name.given.count() + 1", "expect", json!([{"c": 3}, {"c": 1}])),
            test("an error", "name.given", "expectError", json!(true)),
            test("a count", "id", "expectCount", json!(2)),
        ])),
    );
    let done = home.run(&["conformance", "tests", "--report", "tests/report.json"]).expect(0);
    assert!(done.stdout.contains("5 passed, 0 failed"), "{}", done.stdout);
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(home.path("tests/report.json")).unwrap()).unwrap();
    let tests = report["right.json"]["tests"].as_array().unwrap();
    assert_eq!(tests.len(), 5);
    assert!(tests.iter().all(|test| test["result"]["passed"] == true && test["name"].is_string()), "{report}");

    // The report of last time is no test, and a wrong row is told.
    home.write("tests/wrong.json", &file(&json!([test("wrong", "id", "expect", json!([{"c": "a"}]))])));
    let done = home.run(&["conformance", "tests", "--report", "tests/report.json"]).expect(5);
    assert!(
        done.stdout.contains("wrong.json: wrong: ") && done.stdout.contains("5 passed, 1 failed"),
        "{}",
        done.stdout
    );
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(home.path("tests/report.json")).unwrap()).unwrap();
    assert_eq!(report["wrong.json"]["tests"][0]["result"]["passed"], false);
    assert!(report.get("report.json").is_none());
}

#[test]
fn nothing_tested_is_nothing_passed() {
    let home = Home::new();
    std::fs::create_dir(home.path("empty")).unwrap();
    home.run(&["conformance", "empty"]).expect(2);
    home.run(&["conformance", "nowhere"]).expect(6);
    home.write("broken/one.json", "{");
    home.run(&["conformance", "broken"]).expect(2);
}
