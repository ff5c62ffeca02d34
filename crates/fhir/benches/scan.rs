//! What it costs to take a page of 100 resources of 1.8 KB apart, and to read and hash one of them.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fhirvest_fhir::{bundle, resource};

fn role(number: usize) -> String {
    let coding = r#"{"system":"http://nucc.org/provider-taxonomy","code":"207R00000X","display":"Internal Medicine"}"#;
    let codes = vec![format!(r#"{{"coding":[{coding}],"text":"Internal Medicine"}}"#); 7].join(",");
    let networks = (0..6).map(|one| {
        format!(
            r#"{{"url":"http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/network-reference","valueReference":{{"reference":"Organization/network-{one}"}}}}"#
        )
    });
    format!(
        r#"{{"resourceType":"PractitionerRole","id":"role-{number}","meta":{{"lastUpdated":"2026-01-02T03:04:05.678Z","profile":["p"]}},"extension":[{}],"active":true,"practitioner":{{"reference":"Practitioner/{number}"}},"specialty":[{codes}]}}"#,
        networks.collect::<Vec<_>>().join(",")
    )
}

fn benches(criterion: &mut Criterion) {
    let one = role(7);
    let entries: Vec<String> =
        (0..100).map(|n| format!(r#"{{"fullUrl":"u","resource":{},"search":{{"mode":"match"}}}}"#, role(n))).collect();
    let page = format!(r#"{{"resourceType":"Bundle","total":9,"entry":[{}]}}"#, entries.join(","));
    let mut group = criterion.benchmark_group("fhir");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("bundle::scan", |b| b.iter(|| bundle::scan(black_box(page.as_bytes()))));
    group.throughput(Throughput::Bytes(one.len() as u64));
    group.bench_function("resource::head", |b| b.iter(|| resource::head(black_box(&one))));
    group.bench_function("resource::content_hash", |b| b.iter(|| resource::content_hash(black_box(&one))));
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
