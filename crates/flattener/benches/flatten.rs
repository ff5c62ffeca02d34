//! How fast roles become record batches, beside the bare parser on the same bytes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{fmt::Write, hint::black_box};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fhirvest_flattener::{Plan, parse_view};
use serde::de::IgnoredAny;

const RESOURCES: usize = 2000;

const VIEW: &str = r#"{"resource":"PractitionerRole","name":"role","select":[
  {"column":[
    {"name":"id","path":"getResourceKey()"},
    {"name":"last_updated","path":"meta.lastUpdated","type":"instant"},
    {"name":"npi","path":"identifier.where(system = 'http://hl7.org/fhir/sid/us-npi').first().value"},
    {"name":"practitioner_id","path":"practitioner.getReferenceKey(Practitioner)"},
    {"name":"organization_id","path":"organization.getReferenceKey(Organization)"}]},
  {"forEach":"specialty.coding","column":[{"name":"specialty_code","path":"code"},{"name":"specialty_display","path":"display"}]},
  {"forEach":"location","column":[{"name":"location_id","path":"getReferenceKey(Location)"}]}]}"#;

/// A resource of about 2 KB, as the roles of real directories are.
fn role(number: usize) -> String {
    let mut text = format!(
        r#"{{"resourceType":"PractitionerRole","id":"role-{number}","meta":{{"versionId":"1","lastUpdated":"2020-08-05T19:21:12.746Z","profile":["http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/plannet-PractitionerRole"]}},"text":{{"status":"generated","div":"<div>{}</div>"}},"identifier":[{{"system":"urn:x","value":"{number}"}},{{"system":"http://hl7.org/fhir/sid/us-npi","value":"1234567893"}}],"active":true,"practitioner":{{"reference":"Practitioner/p{number}"}},"organization":{{"reference":"Organization/o{}"}},"#,
        "narrative ".repeat(40),
        number % 97,
    );
    text.push_str(r#""specialty":["#);
    for place in 0..2 {
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(
            text,
            r#"{comma}{{"coding":[{{"system":"http://nucc.org/provider-taxonomy","code":"207Q{place}0000X","display":"Family Medicine"}}]}}"#
        );
    }
    text.push_str(r#"],"location":["#);
    for place in 0..2 {
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(text, r#"{comma}{{"reference":"Location/l{}","display":"A place"}}"#, number % 31 + place);
    }
    text.push_str(r#"],"telecom":[{"system":"phone","value":"555-0100"}],"availableTime":["#);
    for (place, day) in ["mon", "tue", "wed", "thu", "fri"].iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(
            text,
            r#"{comma}{{"daysOfWeek":["{day}"],"availableStartTime":"08:00:00","availableEndTime":"17:00:00"}}"#
        );
    }
    text.push_str("]}");
    text
}

fn flatten(criterion: &mut Criterion) {
    let roles: Vec<String> = (0..RESOURCES).map(role).collect();
    let bytes: usize = roles.iter().map(String::len).sum();
    let plan = Plan::compile(&[parse_view(VIEW, "bench").unwrap()]).unwrap();
    let mut group = criterion.benchmark_group("roles");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("bare parser", |bencher| {
        bencher.iter(|| {
            for role in &roles {
                black_box(serde_json::from_str::<IgnoredAny>(role).unwrap());
            }
        });
    });
    group.bench_function("flatten", |bencher| {
        let mut flattener = plan.flattener();
        bencher.iter(|| {
            for role in &roles {
                flattener.push(role).unwrap();
            }
            black_box(flattener.flush().unwrap());
        });
    });
    group.finish();
}

criterion_group!(benches, flatten);
criterion_main!(benches);
