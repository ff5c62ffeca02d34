//! Any text as a view: mistakes are told, never a panic; what compiles also runs.
#![no_main]

use fhirvest_flattener::{Plan, parse_view};
use libfuzzer_sys::fuzz_target;

const RESOURCE: &str = r#"{"resourceType":"Patient","id":"1","active":true,"birthDate":"1867-11",
  "name":[{"family":"Curie","given":["Marie","Salomea"]}],"extension":[{"url":"u","valueInteger":3}],
  "contact":[{"telecom":[{"rank":1,"value":"2"}]}]}"#;

fuzz_target!(|text: &str| {
    let Ok(view) = parse_view(text, "fuzz") else { return };
    let Ok(plan) = Plan::compile(&[view]) else { return };
    let mut flattener = plan.flattener();
    flattener.push(RESOURCE).expect("the resource is JSON");
    flattener.flush().expect("rows make a batch");
});
