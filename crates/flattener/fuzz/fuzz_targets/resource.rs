//! Any text as a resource: it is flattened or refused, and counted once in either case.
#![no_main]

use std::sync::LazyLock;

use fhirvest_flattener::{Plan, parse_view};
use libfuzzer_sys::fuzz_target;

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let view = r#"{"resource":"Patient","name":"t","select":[
      {"column":[{"name":"id","path":"getResourceKey()"},{"name":"born","path":"birthDate.lowBoundary()"},
        {"name":"all","path":"descendants().count()"},{"name":"name","path":"name","collection":true},
        {"name":"active","path":"active","type":"boolean"},{"name":"birth","path":"multipleBirth.ofType(integer)"}]},
      {"forEachOrNull":"name","column":[{"name":"given","path":"given.join(' ')"}]},
      {"column":[{"name":"why","path":"name.given.select(extension('x').value.ofType(string)).first()"},
        {"name":"beside","path":"birthDate.first().id"}]},
      {"forEachOrNull":"telecom.where(rank > 1)","column":[{"name":"rank","path":"rank + 1"},{"name":"of","path":"system"}]},
      {"repeat":["contact.extension"],"column":[{"name":"url","path":"url"}]}]}"#;
    Plan::compile(&[parse_view(view, "fuzz").expect("the view is right")]).expect("the view compiles")
});

/// Without what has every resource read the thorough way.
static PLAIN: LazyLock<Plan> = LazyLock::new(|| {
    let view = r#"{"resource":"Patient","name":"t","select":[
      {"column":[{"name":"id","path":"getResourceKey()"},{"name":"born","path":"birthDate"},{"name":"active","path":"active"},
        {"name":"city","path":"address.city","collection":true}]},
      {"forEachOrNull":"name","column":[{"name":"family","path":"family"},{"name":"given","path":"given.join(' ')"}]}]}"#;
    Plan::compile(&[parse_view(view, "fuzz").expect("the view is right")]).expect("the view compiles")
});

fuzz_target!(|text: &str| {
    // What was learned of a resource gives the rows that reading it the thorough way gave.
    let mut flattener = PLAIN.flattener();
    let mut read = || {
        let read = flattener.push(text).is_ok();
        (read, flattener.take_failures(), flattener.flush().expect("rows make a batch"))
    };
    let first = read();
    assert_eq!(read(), first);
    assert_eq!(read(), first);
    let mut flattener = PLAN.flattener();
    let read = flattener.push(text).is_ok();
    let counts = &flattener.counts()[0];
    assert_eq!(counts.resources, u64::from(read));
    assert_eq!(counts.resources, counts.flattened + counts.filtered + counts.failed);
    flattener.flush().expect("rows make a batch");
    // The scanners of the crawler, on the same text.
    if let Ok(head) = fhirvest_fhir::resource::head(text) {
        let _ = (head.resource_type.len(), fhirvest_fhir::resource::content_hash(text));
    }
    let mut line = Vec::new();
    fhirvest_fhir::resource::write_line(text, &mut line);
});
