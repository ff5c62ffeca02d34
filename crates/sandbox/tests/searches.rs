//! The searches of a well behaved sandbox, over real HTTP.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use fhirvest_sandbox::{ApiKey, Options, World};
use serde_json::Value;
use support::{DIRECTORY, FORMULARY, FORMULARY_STU1, PHARMACIES, ids_in_mode, ids_of, link, run, small};

#[tokio::test]
async fn paging_to_the_end_gives_every_resource_once() {
    let sandbox = small().await;
    for mount in sandbox.world.mounts() {
        for (kind, count) in mount.types() {
            assert!(count > 0, "{}/{kind} is empty", mount.path);
            for page_size in ["", "?_count=7", "?_count=1000", "?_count=7&_sort=-_id"] {
                let target = format!("{}/{kind}{page_size}", mount.path);
                let ids = sandbox.crawl(&target).await;
                assert_eq!(ids.len(), count, "{target}");
                assert!(ids.values().all(|times| *times == 1), "{target}");
                assert_eq!(sandbox.total(&target).await, count as u64, "{target}");
            }
        }
    }
}

#[tokio::test]
async fn a_cursor_outlives_the_server_but_not_its_world() {
    let first = small().await;
    let target = format!("{DIRECTORY}/PractitionerRole?_count=5&_lastUpdated=ge2024-01-01");
    let bundle = first.json(&target).await;
    let next = link(&bundle, "next").unwrap();
    let expected = first.json(&next).await;
    let second = small().await;
    let moved = next.replace(&first.origin, &second.origin);
    assert_eq!(ids_of(&second.json(&moved).await), ids_of(&expected));
    let other = run(Arc::new(World::synthetic(2, 60)), Options::default()).await;
    let moved = next.replace(&first.origin, &other.origin);
    assert_eq!(other.get(&moved).await.status(), 410);
    let elsewhere = moved.replace(DIRECTORY, PHARMACIES);
    assert_eq!(other.get(&elsewhere).await.status(), 410);
}

#[tokio::test]
async fn answers_are_compressed_for_clients_that_accept_it() {
    let plain = small().await;
    let sandbox = run(Arc::new(World::synthetic(1, 60)), Options { gzip: true, ..Options::default() }).await;
    let raw = reqwest::Client::builder().no_gzip().build().unwrap();
    let get = |target: &str, accepted: &'static str| {
        raw.get(format!("{}{target}", sandbox.origin)).header("accept-encoding", accepted).send()
    };
    let target = format!("{DIRECTORY}/PractitionerRole?_count=50");
    let expected = plain.get(&target).await.text().await.unwrap().replace(&plain.origin, &sandbox.origin);

    let packed = get(&target, "gzip, deflate").await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.headers()["vary"], "accept-encoding");
    let packed = packed.bytes().await.unwrap();
    assert!(packed.len() * 4 < expected.len(), "{} of {}", packed.len(), expected.len());
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, expected);

    let refused = get(&target, "identity").await.unwrap();
    assert!(!refused.headers().contains_key("content-encoding"));
    assert_eq!(refused.headers()["vary"], "accept-encoding");
    assert_eq!(refused.text().await.unwrap(), expected);

    let short = get(&format!("{DIRECTORY}/PractitionerRole?family=nobody&_summary=count"), "gzip").await.unwrap();
    assert!(!short.headers().contains_key("content-encoding"));
}

/// Every filter is checked against the same condition worked out from the resources themselves.
#[tokio::test]
async fn filters_find_what_they_say_and_nothing_else() {
    let sandbox = run(Arc::new(World::synthetic(1, 200)), Options::default()).await;
    type Condition = fn(&Value) -> bool;
    let cases: &[(&str, &str, &str, Condition)] = &[
        (DIRECTORY, "Practitioner", "family=k", |r| low(&r["name"][0]["family"]).starts_with('k')),
        (DIRECTORY, "Practitioner", "family:exact=Kim", |r| r["name"][0]["family"] == "Kim"),
        (DIRECTORY, "Practitioner", "family:contains=an", |r| low(&r["name"][0]["family"]).contains("an")),
        (DIRECTORY, "Practitioner", "gender=female", |r| r["gender"] == "female"),
        (DIRECTORY, "Practitioner", "address-state=WV", |r| r["address"][0]["state"] == "WV"),
        (DIRECTORY, "Practitioner", "address-state=WV,DE", |r| {
            r["address"][0]["state"] == "WV" || r["address"][0]["state"] == "DE"
        }),
        (DIRECTORY, "Organization", "type=ntwk", |r| r["type"][0]["coding"][0]["code"] == "ntwk"),
        (DIRECTORY, "Organization", "partof:missing=false", |r| !r["partOf"].is_null()),
        (DIRECTORY, "PractitionerRole", "specialty=http%3A%2F%2Fnucc.org%2Fprovider-taxonomy%7C207Q00000X", |r| {
            codings(&r["specialty"]).iter().any(|code| code == "207Q00000X")
        }),
        (DIRECTORY, "PractitionerRole", "practitioner:missing=true", |r| r["practitioner"].is_null()),
        (DIRECTORY, "PractitionerRole", "network=Organization/network-003", |r| {
            r["extension"].to_string().contains("\"valueReference\":{\"display\":\"Mountain State PPO\"")
        }),
        (DIRECTORY, "Location", "address-postalcode=152", |r| {
            r["address"]["postalCode"].as_str().is_some_and(|zip| zip.starts_with("152"))
        }),
        (DIRECTORY, "Practitioner", "_lastUpdated=ge2024-06&_lastUpdated=lt2025", |r| {
            let at = r["meta"]["lastUpdated"].as_str().unwrap();
            ("2024-06".."2025").contains(&at)
        }),
        (PHARMACIES, "OrganizationAffiliation", "role=pharmacy", |_| true),
        (PHARMACIES, "HealthcareService", "service-category=pharm&specialty=3336M0002X", |r| {
            codings(&r["specialty"]).contains(&"3336M0002X".to_owned())
        }),
        (FORMULARY, "InsurancePlan", "type=http://terminology.hl7.org/CodeSystem/v3-ActCode%7CDRUGPOL", |r| {
            codings(&r["type"]).contains(&"DRUGPOL".to_owned())
        }),
        (FORMULARY, "InsurancePlan", "formulary-coverage=formulary-33701PA0070001", |r| {
            r["coverage"].to_string().contains("formulary-33701PA0070001")
        }),
        (FORMULARY, "Basic", "formulary=InsurancePlan/formulary-33701PA0070001&drug-tier=generic", |r| {
            let text = r["extension"].to_string();
            text.contains("formulary-33701PA0070001") && text.contains("\"generic\"")
        }),
        (FORMULARY_STU1, "MedicationKnowledge", "DrugPlan=33702PA0070002", |r| {
            r["extension"][0]["valueString"] == "33702PA0070002"
        }),
        (FORMULARY_STU1, "List", "code=http://terminology.hl7.org/CodeSystem/v3-ActCode%7CDRUGPOL", |_| true),
    ];
    for (mount, kind, filter, condition) in cases {
        let expected: Vec<String> = sandbox
            .world
            .resources(mount, kind)
            .map(|text| serde_json::from_str::<Value>(text).unwrap())
            .filter(condition)
            .map(|resource| resource["id"].as_str().unwrap().to_owned())
            .collect();
        let target = format!("{mount}/{kind}?{filter}&_count=13");
        let mut expected = expected;
        expected.sort();
        let found: Vec<String> = sandbox.crawl(&target).await.into_keys().collect();
        assert_eq!(found, expected, "{target}");
        assert!(!expected.is_empty(), "{target} proves nothing");
    }
    for vain in [
        "Practitioner?family:exact=kim",
        "Practitioner?name=nobody",
        "Organization?type:missing=true",
        "PractitionerRole?specialty=%7C207Q00000X",
        "PractitionerRole?practitioner=practitioner-none",
        "Practitioner?_lastUpdated=ge2100",
        "Practitioner?_id=none",
    ] {
        assert_eq!(sandbox.total(&format!("{DIRECTORY}/{vain}")).await, 0, "{vain}");
    }
}

fn low(value: &Value) -> String {
    value.as_str().unwrap_or("").to_lowercase()
}

fn codings(concepts: &Value) -> Vec<String> {
    let concepts = concepts.as_array().cloned().unwrap_or_default();
    concepts.iter().map(|concept| concept["coding"][0]["code"].as_str().unwrap_or("").to_owned()).collect()
}

#[tokio::test]
async fn references_may_be_written_in_every_way() {
    let sandbox = small().await;
    let roles = sandbox.json(&format!("{DIRECTORY}/PractitionerRole?_count=50")).await;
    let practitioners: Vec<&str> = roles["entry"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["resource"]["practitioner"]["reference"].as_str())
        .filter(|reference| reference.starts_with("Practitioner/practitioner-1"))
        .collect();
    let (first, second) = (practitioners[0], practitioners.last().unwrap());
    assert_ne!(first, *second);
    let bare = first.trim_start_matches("Practitioner/");
    let base = format!("{}{DIRECTORY}", sandbox.origin);
    let count = |value: String| sandbox.crawl_count(format!("{DIRECTORY}/PractitionerRole?practitioner={value}"));
    let expected = count(bare.to_owned()).await;
    assert!(expected > 0);
    assert_eq!(count(first.to_owned()).await, expected);
    assert_eq!(count(format!("{base}/{first}")).await, expected);
    let both = count(format!("{bare},{second}")).await;
    assert_eq!(both, expected + count((*second).to_owned()).await);
}

impl support::Running {
    async fn crawl_count(&self, target: String) -> usize {
        self.crawl(&target).await.len()
    }
}

#[tokio::test]
async fn includes_travel_along_and_do_not_count() {
    let sandbox = small().await;
    let plain = sandbox.json(&format!("{DIRECTORY}/PractitionerRole?_count=10")).await;
    let target = format!(
        "{DIRECTORY}/PractitionerRole?_count=10&_include=PractitionerRole:practitioner&_include=PractitionerRole:location"
    );
    let bundle = sandbox.json(&target).await;
    assert_eq!(bundle["total"], plain["total"]);
    assert_eq!(ids_of(&bundle), ids_of(&plain));
    let mut included = ids_in_mode(&bundle, "include");
    assert!(included.iter().any(|id| id.starts_with("practitioner-")));
    assert!(included.iter().any(|id| id.starts_with("location-")));
    let count = included.len();
    included.sort();
    included.dedup();
    assert_eq!(included.len(), count, "each included resource once");

    let one = ids_of(&sandbox.json(&format!("{DIRECTORY}/Organization?type=fac&_count=1")).await).remove(0);
    let reverse = sandbox.json(&format!("{DIRECTORY}/Organization?_id={one}&_revinclude=Location:organization")).await;
    let found = ids_in_mode(&reverse, "include");
    let mut expected: Vec<String> =
        sandbox.crawl(&format!("{DIRECTORY}/Location?organization={one}")).await.into_keys().collect();
    expected.sort();
    let mut found_sorted = found;
    found_sorted.sort();
    assert_eq!(found_sorted, expected);
    assert_eq!(expected.len(), 2);
}

#[tokio::test]
async fn counting_needs_no_entries() {
    let sandbox = small().await;
    let bundle = sandbox.json(&format!("{DIRECTORY}/Practitioner?_summary=count&gender=male")).await;
    assert!(bundle["entry"].is_null() && link(&bundle, "next").is_none());
    let counted = bundle["total"].as_u64().unwrap();
    assert_eq!(counted, sandbox.crawl(&format!("{DIRECTORY}/Practitioner?gender=male")).await.len() as u64);
    let none = sandbox.json(&format!("{DIRECTORY}/Practitioner?_total=none&_count=3")).await;
    assert!(none["total"].is_null());
    assert_eq!(ids_of(&none).len(), 3);
}

#[tokio::test]
async fn unknown_parameters_are_dropped_from_the_self_link_or_refused_when_strict() {
    let sandbox = small().await;
    let target = format!("{DIRECTORY}/Practitioner?colour=blue&family=k");
    let bundle = sandbox.json(&target).await;
    let own = link(&bundle, "self").unwrap();
    assert!(own.contains("family=k") && !own.contains("colour"), "{own}");
    let strict = sandbox
        .client
        .get(format!("{}{target}", sandbox.origin))
        .header("prefer", "handling=strict")
        .send()
        .await
        .unwrap();
    assert_eq!(strict.status(), 400);
    assert!(strict.text().await.unwrap().contains("colour"));
    assert_eq!(sandbox.total(&format!("{DIRECTORY}/Practitioner?family=&_id=")).await, 60, "no value says nothing");
    for wrong in ["_count=many", "_lastUpdated=yesterday", "_sort=name", "_include=Practitioner:nothing"] {
        let refused = sandbox.get(&format!("{DIRECTORY}/Practitioner?{wrong}")).await;
        assert_eq!(refused.status(), 400, "{wrong}");
        let outcome: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
        assert_eq!(outcome["resourceType"], "OperationOutcome");
    }
}

#[tokio::test]
async fn reads_metadata_and_refusals() {
    let sandbox = small().await;
    let text = sandbox.world.resources(DIRECTORY, "Location").nth(5).unwrap().to_owned();
    let id = serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned();
    let answer = sandbox.get(&format!("{DIRECTORY}/Location/{id}")).await;
    assert_eq!(answer.headers()["content-type"], "application/fhir+json");
    assert_eq!(answer.text().await.unwrap(), text);
    for missing in ["/Location/none", "/Patient", "/Patient/1", "/", "/Location/a/b"] {
        let answer = sandbox.get(&format!("{DIRECTORY}{missing}")).await;
        assert_eq!(answer.status(), 404, "{missing}");
        assert!(answer.text().await.unwrap().contains("OperationOutcome"), "{missing}");
    }
    let statement = sandbox.json(&format!("{DIRECTORY}/metadata")).await;
    assert_eq!(statement["fhirVersion"], "4.0.1");
    let types: Vec<&str> =
        statement["rest"][0]["resource"].as_array().unwrap().iter().map(|r| r["type"].as_str().unwrap()).collect();
    assert_eq!(types.len(), 8);
    let practitioner =
        statement["rest"][0]["resource"].as_array().unwrap().iter().find(|r| r["type"] == "Practitioner");
    assert_eq!(practitioner.unwrap()["searchRevInclude"], serde_json::json!(["PractitionerRole:practitioner"]));
    let listing = sandbox.json("/").await;
    assert_eq!(listing["apis"].as_array().unwrap().len(), sandbox.world.mounts().len());
    let refused = sandbox.client.delete(format!("{}{DIRECTORY}/Location/{id}", sandbox.origin)).send().await.unwrap();
    assert_eq!(refused.status(), 405);
}

#[tokio::test]
async fn a_search_may_be_posted() {
    let sandbox = small().await;
    let answer = sandbox
        .client
        .post(format!("{}{DIRECTORY}/Practitioner/_search?_count=100", sandbox.origin))
        .form(&[("gender", "female")])
        .send()
        .await
        .unwrap();
    let bundle: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let expected = sandbox.crawl(&format!("{DIRECTORY}/Practitioner?gender=female")).await;
    assert_eq!(ids_of(&bundle).len(), expected.len());
}

#[tokio::test]
async fn keys_are_asked_for_and_watched() {
    let options = Options {
        api_key: Some(ApiKey { header: "x-api-key".into(), value: "open sesame".into() }),
        ..Options::default()
    };
    assert!(!format!("{options:?}").contains("sesame"));
    let sandbox = run(Arc::new(World::synthetic(1, 20)), options).await;
    let target = format!("{}{DIRECTORY}/Practitioner", sandbox.origin);
    let without = sandbox.client.get(&target).send().await.unwrap();
    assert_eq!(without.status(), 401);
    let body = without.text().await.unwrap();
    assert!(body.contains("x-api-key") && !body.contains("sesame"));
    let wrong = sandbox.client.get(&target).header("x-api-key", "close").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let right = sandbox.client.get(&target).header("X-Api-Key", "open sesame").send().await.unwrap();
    assert_eq!(right.status(), 200);
    let seen: Vec<(bool, u16)> =
        sandbox.traffic.exchanges().iter().map(|exchange| (exchange.api_key, exchange.status)).collect();
    assert_eq!(seen, [(false, 401), (true, 401), (true, 200)]);

    let options = Options { bearer: Some("token".into()), ..Options::default() };
    let sandbox = run(Arc::new(World::synthetic(1, 20)), options).await;
    assert_eq!(sandbox.get(&format!("{DIRECTORY}/metadata")).await.status(), 200);
    assert_eq!(sandbox.get(&format!("{DIRECTORY}/Practitioner")).await.status(), 401);
    let target = format!("{}{DIRECTORY}/Practitioner", sandbox.origin);
    assert_eq!(sandbox.client.get(&target).bearer_auth("token").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn own_data_comes_back_as_the_very_same_text() {
    let dir = std::env::temp_dir().join(format!("fhirvest-sandbox-own-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let odd = r#"{ "position":{"latitude":40.440600,"longitude":-79.9959000000000000001},"id":"l1", "resourceType":"Location","x":1e400,"name":"\u00e9 \"q\""}"#;
    let plain = r#"{"resourceType":"Practitioner","id":"p1","meta":{"lastUpdated":"2024-01-01T00:00:00Z"}}"#;
    let newer = r#"{"resourceType":"Practitioner","id":"p1","active":true}"#;
    std::fs::write(dir.join("any-name.ndjson"), format!("\u{feff}{odd}\n\n{plain}\r\n")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(newer.as_bytes()).unwrap();
    std::fs::write(dir.join("more.ndjson.gz"), gz.finish().unwrap()).unwrap();
    let other = r#"{"resourceType":"Endpoint","id":"e1"}"#;
    std::fs::write(dir.join("zipped.ndjson.zst"), zstd::encode_all(other.as_bytes(), 1).unwrap()).unwrap();
    std::fs::write(dir.join("ignored.txt"), "not read").unwrap();
    let world = World::from_dir(&dir).unwrap();
    let sandbox = run(Arc::new(world), Options::default()).await;
    assert_eq!(sandbox.get("/fhir/Location/l1").await.text().await.unwrap(), odd);
    assert!(sandbox.get("/fhir/Location").await.text().await.unwrap().contains(odd));
    assert_eq!(sandbox.get("/fhir/Practitioner/p1").await.text().await.unwrap(), newer);
    assert_eq!(sandbox.total("/fhir/Practitioner").await, 1);
    assert_eq!(sandbox.total("/fhir/Endpoint").await, 1);

    std::fs::write(dir.join("wrong.ndjson"), format!("{plain}\n{{\"id\":\"x\"}}\n")).unwrap();
    let error = World::from_dir(&dir).unwrap_err().to_string();
    assert!(error.contains("wrong.ndjson:2") && error.contains("resourceType"), "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(World::from_dir(&dir).unwrap_err().to_string().contains("cannot read"));
}
