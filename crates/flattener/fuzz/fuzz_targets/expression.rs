//! Any text as an expression, as a column and as a filter.
#![no_main]

use fhirvest_flattener::{Plan, parse_view};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path: String = text.chars().flat_map(|c| match c {
        '"' | '\\' => vec!['\\', c],
        c if c.is_control() => vec![' '],
        c => vec![c],
    }).collect();
    let view = format!(
        r#"{{"resource":"Patient","name":"t","where":[{{"path":"{path}"}}],"select":[{{"forEach":"{path}","column":[{{"name":"c","path":"{path}","collection":true}}]}}]}}"#
    );
    let Ok(view) = parse_view(&view, "fuzz") else { return };
    let Ok(plan) = Plan::compile(&[view]) else { return };
    let mut flattener = plan.flattener();
    for resource in [
        r#"{"resourceType":"Patient"}"#,
        r#"{"resourceType":"Patient","id":"1","name":[{"given":["a","b"]}],"birthDate":"1867-11-07","multipleBirthInteger":-7}"#,
    ] {
        flattener.push(resource).expect("the resource is JSON");
    }
    flattener.flush().expect("rows make a batch");
});
