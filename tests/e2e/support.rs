//! What a help desk is told of runs over members' claims and records holds no value of any of them, whatever happened.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Home, Sandbox};

/// Texts and long numbers of a resource that could tell something about somebody; codes in small letters and names of
/// resource types are words of FHIR.
fn values(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(key, _)| *key != "resourceType").for_each(|(_, one)| values(one, found));
        }
        Value::Array(list) => list.iter().for_each(|one| values(one, found)),
        Value::String(text) => {
            let telling = |c: char| c.is_ascii_digit() || c.is_ascii_uppercase() || c == ' ';
            if text.len() >= 4 && text.contains(telling) {
                found.insert(text.clone());
                // A reference names somebody by its last part.
                found.extend(text.rsplit(['/', '|']).next().filter(|part| part.len() >= 4).map(ToOwned::to_owned));
            }
        }
        Value::Number(number) if number.to_string().len() >= 5 => drop(found.insert(number.to_string())),
        _ => {}
    }
}

/// The text without what is ours: times, and the port of the sandbox.
fn without_times_and_port(text: &str, port: &str) -> String {
    let words = text.replace(port, "PORT");
    let words = words.split(' ').filter(|word| {
        let date = word.len() == 10 && word.bytes().filter(|byte| *byte == b'-').count() == 2;
        let time = word.len() == 8 && word.bytes().filter(|byte| *byte == b':').count() == 2;
        !date && !time
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn no_value_of_a_member_is_in_the_text_whatever_happened() {
    let home = Home::new();
    let mut known = BTreeSet::new();
    for (fault, code) in [(None, 0), (Some("403-midway"), 5), (Some("401-midway"), 5), (Some("5xx-always"), 5)] {
        let mut arguments = vec!["--size", "5"];
        arguments.extend(fault.iter().flat_map(|fault| ["--fault", fault]));
        let sandbox = Sandbox::start(&home, &arguments);
        let base = sandbox.url("highmark/patient-access");
        let port = base.split(['/', ':']).nth(4).unwrap();
        home.write(
            "jobs/members.toml",
            &format!(
                "version = 1\nsensitive = true\nenvironment = \"test\"\nviews = []\n[rate]\nrequests_per_second = 0\n[limits]\n\
                 max_retries = 0\n[source]\nname = \"acme\"\nbase_url = \"{base}\"\n[resources.Patient]\npage_size = 2\n\
                 [resources.Coverage]\npage_size = 2\n[resources.ExplanationOfBenefit]\npage_size = 5\n\
                 [resources.Condition]\npage_size = 5\n[resources.Observation]\npage_size = 5\n"
            ),
        );
        let report = home.run(&["run", "--fresh", "--json"]).expect(code).report();
        let text = |key: &str| report[key].as_str().unwrap().to_owned();
        // Data about persons are kept apart, in a lake of their own, which a run's name leads to.
        let (run, lake) = (text("run"), text("lake"));
        if fault.is_none() {
            for file in home.files(&format!("{lake}/archive")).iter().filter(|name| name.ends_with(".ndjson.zst")) {
                let path = home.path(&format!("{lake}/archive")).join(file);
                let text = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
                for line in String::from_utf8(text).unwrap().lines() {
                    values(&serde_json::from_str(line).unwrap(), &mut known);
                }
            }
            assert!(known.len() > 200, "{} values", known.len());
        }
        let text = home.run(&["support", &run]).expect(0).stdout;
        for part in ["test (test)", "acme", "ExplanationOfBenefit", " UTC"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        if let Some(fault) = fault {
            let code = if fault.starts_with("5xx") { "5" } else { &fault[..3] };
            assert!(text.contains(&format!("response code {code}")), "{text}");
        }
        let ours = without_times_and_port(&text, port);
        let told: Vec<&String> = known.iter().filter(|value| ours.contains(value.as_str())).collect();
        let types = ["Patient", "Coverage", "ExplanationOfBenefit", "Condition", "Observation"];
        let told: Vec<_> = told.into_iter().filter(|value| !types.contains(&value.as_str())).collect();
        assert!(told.is_empty(), "{told:?} in\n{text}");
    }
}
