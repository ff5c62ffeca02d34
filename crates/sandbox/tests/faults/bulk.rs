//! Bulk Data: a whole export, and what goes wrong with one.

use std::collections::BTreeMap;
use std::sync::Arc;

use fhirvest_sandbox::{ApiKey, Fault, Options, World};
use reqwest::{Response, Url};
use serde_json::Value;

use crate::faulty;
use crate::support::{self, DIRECTORY, Running};

async fn kick_off(sandbox: &Running, query: &str) -> Response {
    let request = sandbox.client.get(format!("{}{DIRECTORY}/$export{query}", sandbox.origin));
    request.header("prefer", "respond-async").header("x-api-key", "key").send().await.unwrap()
}

/// Polls to the end; the last answer and how many said "not yet".
async fn poll(sandbox: &Running, kicked_off: &Response) -> (Response, usize) {
    assert_eq!(kicked_off.status(), 202);
    let location = kicked_off.headers()["content-location"].to_str().unwrap();
    let location = kicked_off.url().join(location).unwrap();
    let mut waited = 0;
    loop {
        let answer = sandbox.client.get(location.clone()).header("x-api-key", "key").send().await.unwrap();
        if !matches!(answer.status().as_u16(), 202 | 429) {
            return (answer, waited);
        }
        assert_eq!(answer.headers()["retry-after"], "1");
        waited += 1;
        assert!(waited < 30);
    }
}

async fn manifest(sandbox: &Running, query: &str) -> (Url, Value) {
    let (answer, waited) = poll(sandbox, &kick_off(sandbox, query).await).await;
    assert!(waited > 0);
    let url = answer.url().clone();
    (url, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// Lines per type over all output files.
async fn download(sandbox: &Running, base: &Url, manifest: &Value) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for file in manifest["output"].as_array().unwrap() {
        let url = base.join(file["url"].as_str().unwrap()).unwrap();
        let answer = sandbox.get(url.as_str()).await;
        assert_eq!(answer.status(), 200, "{url}");
        assert_eq!(answer.headers()["content-type"], "application/fhir+ndjson");
        let text = answer.text().await.unwrap();
        let kind = file["type"].as_str().unwrap().to_owned();
        let count =
            text.lines().filter(|line| serde_json::from_str::<Value>(line).unwrap()["resourceType"] == kind).count();
        assert!(file["count"].is_null() || file["count"].as_u64() == Some(count as u64));
        *lines.entry(kind).or_insert(0) += count;
    }
    lines
}

fn everything(sandbox: &Running) -> BTreeMap<String, usize> {
    let mount = sandbox.world.mounts().iter().find(|mount| mount.path == DIRECTORY).unwrap();
    mount.types().map(|(kind, count)| (kind.to_owned(), count)).collect()
}

#[tokio::test]
async fn an_export_holds_every_resource() {
    let sandbox = faulty(&[]).await;
    let without = sandbox.get(&format!("{DIRECTORY}/$export")).await;
    assert_eq!(without.status(), 400);
    let (url, whole) = manifest(&sandbox, "").await;
    assert_eq!(download(&sandbox, &url, &whole).await, everything(&sandbox));
    assert_eq!(whole["requiresAccessToken"], false);
    let (url, some) = manifest(&sandbox, "?_type=Location,Endpoint&_since=2025-01-01T00:00:00Z").await;
    let lines = download(&sandbox, &url, &some).await;
    assert_eq!(lines.keys().collect::<Vec<_>>(), ["Endpoint", "Location"]);
    let expected = sandbox.total(&format!("{DIRECTORY}/Location?_lastUpdated=ge2025-01-01")).await;
    assert_eq!(lines["Location"] as u64, expected);
    assert_eq!(kick_off(&sandbox, "?_type=Patient").await.status(), 400);
    assert_eq!(sandbox.get(&format!("{DIRECTORY}/$export-status/none")).await.status(), 404);
}

#[tokio::test]
async fn exports_are_slow_refused_or_fail() {
    let sandbox = faulty(&["bulk-unsupported"]).await;
    assert_eq!(kick_off(&sandbox, "").await.status(), 404);
    let sandbox = faulty(&["bulk-slow"]).await;
    assert_eq!(poll(&sandbox, &kick_off(&sandbox, "").await).await.1, 7);
    let sandbox = faulty(&["bulk-429"]).await;
    assert_eq!(poll(&sandbox, &kick_off(&sandbox, "").await).await.0.status(), 200);
    let sandbox = faulty(&["bulk-fails"]).await;
    let (answer, _) = poll(&sandbox, &kick_off(&sandbox, "").await).await;
    assert_eq!(answer.status(), 500);
    assert!(answer.text().await.unwrap().contains("OperationOutcome"));
}

#[tokio::test]
async fn manifests_are_odd() {
    let sandbox = faulty(&["bulk-relative-urls"]).await;
    let (url, whole) = manifest(&sandbox, "").await;
    assert!(whole["output"][0]["url"].as_str().unwrap().starts_with("../"));
    assert_eq!(download(&sandbox, &url, &whole).await, everything(&sandbox));

    let sandbox = faulty(&["bulk-odd-manifest"]).await;
    let (url, whole) = manifest(&sandbox, "").await;
    assert_eq!(whole["transactionTime"], "05/09/2022 23:01");
    assert!(whole["error"].is_object());
    assert_eq!(download(&sandbox, &url, &whole).await, everything(&sandbox));

    let sandbox = faulty(&["bulk-deleted"]).await;
    let (url, whole) = manifest(&sandbox, "").await;
    let deleted = sandbox.get(whole["deleted"][0]["url"].as_str().unwrap()).await.text().await.unwrap();
    let bundle: Value = serde_json::from_str(deleted.trim()).unwrap();
    assert_eq!(bundle["entry"].as_array().unwrap().len(), 8);
    let lines = download(&sandbox, &url, &whole).await;
    assert!(everything(&sandbox).iter().all(|(kind, count)| lines[kind] == count - 1));
}

#[tokio::test]
async fn files_are_elsewhere() {
    for name in ["bulk-other-host", "bulk-other-host-no-token"] {
        let options = Options {
            api_key: Some(ApiKey { header: "x-api-key".into(), value: "key".into() }),
            faults: vec![name.parse::<Fault>().unwrap()],
            ..Options::default()
        };
        let sandbox = support::run(Arc::new(World::synthetic(1, 20)), options).await;
        let (_, whole) = manifest(&sandbox, "").await;
        let url = whole["output"][0]["url"].as_str().unwrap().to_owned();
        assert!(url.starts_with("http://localhost:"), "{url}");
        let needed = whole["requiresAccessToken"] == true;
        assert_eq!(needed, name == "bulk-other-host");
        let without = sandbox.client.get(&url).send().await.unwrap().status();
        let with = sandbox.client.get(&url).header("x-api-key", "key").send().await.unwrap().status();
        assert_eq!((without.is_success(), with.is_success()), (!needed, needed), "{name}");
    }
}

#[tokio::test]
async fn an_export_expires_once() {
    let sandbox = faulty(&["bulk-expires"]).await;
    let (_, first) = manifest(&sandbox, "").await;
    let files: Vec<&str> =
        first["output"].as_array().unwrap().iter().map(|file| file["url"].as_str().unwrap()).collect();
    assert_eq!(sandbox.get(files[0]).await.status(), 200);
    assert_eq!(sandbox.get(files[1]).await.status(), 404);
    let (url, second) = manifest(&sandbox, "").await;
    assert_eq!(download(&sandbox, &url, &second).await, everything(&sandbox));
}
