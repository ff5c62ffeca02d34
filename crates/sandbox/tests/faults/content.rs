//! Habits 19 to 21, 24 and 25: what is in the entries, and filters that do nothing.

use serde_json::Value;

use crate::faulty;
use crate::support::{DIRECTORY, ids_in_mode, ids_of};

const TARGET: &str = "/highmark/provider-directory/Location?_count=100";

#[tokio::test]
async fn entries_that_are_not_matches() {
    let sandbox = faulty(&["outcome-entries"]).await;
    let bundle = sandbox.json(TARGET).await;
    let last = bundle["entry"].as_array().unwrap().last().unwrap();
    assert_eq!(last["resource"]["resourceType"], "OperationOutcome");
    assert_eq!(last["search"]["mode"], "outcome");
    assert_eq!(bundle["total"].as_u64(), Some(ids_of(&bundle).len() as u64));

    let sandbox = faulty(&["includes-unasked"]).await;
    let bundle = sandbox.json(TARGET).await;
    assert_eq!(ids_in_mode(&bundle, "include").len(), 2);

    let sandbox = faulty(&["mode-absent"]).await;
    let bundle = sandbox.json(TARGET).await;
    assert!(bundle["entry"].as_array().unwrap().iter().all(|entry| entry["search"].is_null()));
}

/// Some resources are spoilt, the same ones each time, and the rest is untouched.
#[tokio::test]
async fn resources_are_spoilt() {
    let many = format!("{DIRECTORY}/PractitionerRole?_count=500");
    let good = faulty(&[]).await.get(&many).await.bytes().await.unwrap();
    let good = String::from_utf8(good.to_vec()).unwrap();
    for (name, sign) in [
        ("invalid-utf8", &b"\"en\xff\""[..]),
        ("lone-surrogate", br#""en\ud83d""#),
        ("duplicate-keys", br#""language":"en","language":"fr""#),
        ("big-numbers", b"1e400"),
    ] {
        let sandbox = faulty(&[name]).await;
        let bytes = sandbox.get(&many).await.bytes().await.unwrap();
        let hits = bytes.windows(sign.len()).filter(|window| *window == sign).count();
        assert!(hits > 2 && hits < 30, "{name}: {hits}");
        assert_eq!(std::str::from_utf8(&bytes).is_err(), name == "invalid-utf8", "{name}");
        assert_eq!(sandbox.get(&many).await.bytes().await.unwrap(), bytes, "{name} hits the same ones");
    }
    let sandbox = faulty(&["missing-id"]).await;
    let bundle = sandbox.json(&many).await;
    let entries = bundle["entry"].as_array().unwrap();
    let missing = entries.iter().filter(|entry| entry["resource"]["id"].is_null()).count();
    assert!(missing > 2, "{missing}");
    assert_eq!(entries.len(), serde_json::from_str::<Value>(&good).unwrap()["entry"].as_array().unwrap().len());
}

#[tokio::test]
async fn fields_are_bad() {
    let sandbox = faulty(&["bad-fields"]).await;
    let bundle = sandbox.json(TARGET).await;
    let bad: Vec<&Value> = bundle["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["resource"])
        .filter(|location| location["position"]["latitude"] == "" && location["address"]["line"][0].is_null())
        .collect();
    assert!(!bad.is_empty());
    assert!(bad.iter().all(|location| location["id"].is_string()));
}

#[tokio::test]
async fn filters_and_sort_are_ignored() {
    let sandbox = faulty(&["ignores-filters"]).await;
    assert_eq!(sandbox.total(&format!("{DIRECTORY}/Practitioner?family=no-such-name")).await, 60);
    assert_eq!(sandbox.total(&format!("{DIRECTORY}/Practitioner?_lastUpdated=ge2100")).await, 60);

    let sandbox = faulty(&["ignores-sort"]).await;
    let sorted = ids_of(&sandbox.json(&format!("{DIRECTORY}/Practitioner?_sort=-_id")).await);
    assert_eq!(sorted, ids_of(&sandbox.json(&format!("{DIRECTORY}/Practitioner")).await));

    let sandbox = faulty(&["ignores-lastupdated"]).await;
    assert_eq!(sandbox.total(&format!("{DIRECTORY}/Practitioner?_lastUpdated=ge2100")).await, 60);
    assert_eq!(sandbox.total(&format!("{DIRECTORY}/Practitioner?family=no-such-name")).await, 0);
}

#[tokio::test]
async fn stamps_are_missing_or_all_the_same() {
    let sandbox = faulty(&["no-lastupdated"]).await;
    let bundle = sandbox.json(TARGET).await;
    assert!(bundle["entry"].as_array().unwrap().iter().all(|entry| entry["resource"]["meta"]["lastUpdated"].is_null()));
    assert_eq!(sandbox.total(&format!("{TARGET}&_lastUpdated=ge1900")).await, 0);

    let sandbox = faulty(&["export-stamps"]).await;
    let bundle = sandbox.json(TARGET).await;
    let mut stamps: Vec<&Value> =
        bundle["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]["meta"]["lastUpdated"]).collect();
    stamps.dedup();
    assert_eq!(stamps.len(), 1);
}
