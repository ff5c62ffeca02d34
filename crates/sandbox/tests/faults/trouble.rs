//! Habits 13 to 18, 22, 23, 26 and 27: throttling, refusals, outages, broken and foreign bodies.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fhirvest_sandbox::{Fault, Options, Traffic, World};
use serde_json::Value;

use crate::support::{self, DIRECTORY, FORMULARY, Running, ids_of};
use crate::{faulty, sized};

const TARGET: &str = "/highmark/provider-directory/Practitioner?_count=10";

/// The statuses of so many requests in a row.
async fn statuses(sandbox: &Running, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(sandbox.get(TARGET).await.status().as_u16());
    }
    statuses
}

#[tokio::test]
async fn throttled_in_every_way() {
    for (name, status, header) in [
        ("429-seconds", 429, Some(("retry-after", "1"))),
        ("429-date", 429, Some(("retry-after", "Thu, 01 Jan 2026 00:00:02 GMT"))),
        ("429-reset-epoch", 429, Some(("x-ratelimit-reset", "1767225602"))),
        ("429-reset-delta", 429, Some(("ratelimit-reset", "1"))),
        ("429-bare", 429, None),
        ("quota-403", 403, Some(("retry-after", "1"))),
        ("503-retry-after", 503, Some(("retry-after", "1"))),
    ] {
        let options = Options {
            faults: vec![name.parse::<Fault>().unwrap()],
            clock: Some(Arc::new(|| Duration::from_secs(1_767_225_600))),
            ..Options::default()
        };
        let sandbox = support::run(Arc::new(World::synthetic(1, 20)), options).await;
        assert_eq!(sandbox.get(TARGET).await.status(), 200, "{name}");
        let answer = sandbox.get(TARGET).await;
        assert_eq!(answer.status(), status, "{name}");
        match header {
            Some((header, value)) => assert_eq!(answer.headers()[header], value, "{name}"),
            None => assert!(answer.headers().get("retry-after").is_none(), "{name}"),
        }
        assert_eq!(statuses(&sandbox, 7).await, [200, 200, 200, 200, 200, 200, status], "{name}");
    }
}

#[tokio::test]
async fn refused_from_some_request_on() {
    for (name, status) in [
        ("429-long", 429),
        ("401-midway", 401),
        ("403-midway", 403),
        ("5xx-always", 500),
        ("html-401", 401),
        ("login-200", 200),
    ] {
        let sandbox = faulty(&[name]).await;
        assert_eq!(statuses(&sandbox, 3).await, [200, 200, 200], "{name}");
        let answer = sandbox.get(TARGET).await;
        assert_eq!(answer.status(), status, "{name}");
        let html = answer.headers()["content-type"].to_str().unwrap().starts_with("text/html");
        assert_eq!(html, ["html-401", "login-200"].contains(&name), "{name}");
        if name == "429-long" {
            assert_eq!(answer.headers()["retry-after"], "7200");
        }
        assert_eq!(statuses(&sandbox, 2).await, [status, status], "{name}");
    }
}

#[tokio::test]
async fn one_type_is_refused() {
    for (name, status) in [("403-type", 403), ("type-404", 404), ("type-501", 501)] {
        let sandbox = faulty(&[name]).await;
        assert_eq!(sandbox.get(&format!("{DIRECTORY}/Endpoint")).await.status(), status, "{name}");
        assert_eq!(sandbox.get(&format!("{DIRECTORY}/Endpoint/endpoint-00000")).await.status(), status, "{name}");
        assert_eq!(sandbox.get(TARGET).await.status(), 200, "{name}");
        assert_eq!(sandbox.get(&format!("{FORMULARY}/Basic")).await.status(), status, "{name}");
    }
}

#[tokio::test]
async fn outages_pass() {
    let sandbox = faulty(&["5xx-some"]).await;
    let seen = statuses(&sandbox, 35).await;
    let errors: Vec<u16> = seen.iter().copied().filter(|status| *status != 200).collect();
    assert_eq!(errors, [500, 502, 503, 504, 423]);
    assert!(seen.windows(2).all(|pair| pair[0] == 200 || pair[1] == 200), "a retry passes: {seen:?}");

    let sandbox = faulty(&["hang"]).await;
    assert_eq!(statuses(&sandbox, 3).await, [200, 200, 200]);
    let request = sandbox.client.get(format!("{}{TARGET}", sandbox.origin)).timeout(Duration::from_millis(300));
    assert!(request.send().await.unwrap_err().is_timeout());
    assert_eq!(statuses(&sandbox, 1).await, [200]);
}

/// The sixth answer, which is the spoilt one.
async fn spoilt(sandbox: &Running) -> Result<String, reqwest::Error> {
    assert_eq!(statuses(sandbox, 5).await, [200; 5]);
    let request = sandbox.client.get(format!("{}{TARGET}", sandbox.origin)).timeout(Duration::from_millis(900));
    request.send().await?.text().await
}

#[tokio::test]
async fn bodies_break() {
    for name in ["reset-mid-body", "short-body", "trickle"] {
        let sandbox = faulty(&[name]).await;
        let error = spoilt(&sandbox).await.unwrap_err();
        assert_eq!(error.is_timeout(), name == "trickle", "{name}: {error:?}");
        assert_eq!(ids_of(&sandbox.json(TARGET).await).len(), 10, "{name}: sent again it is whole");
    }
    for (name, start) in
        [("truncated-json", "{\"resourceType\""), ("html-200", "<!DOCTYPE"), ("not-a-bundle", "{\"status\"")]
    {
        let sandbox = faulty(&[name]).await;
        let text = spoilt(&sandbox).await.unwrap();
        assert!(text.starts_with(start), "{name}");
        let whole = serde_json::from_str::<Value>(&text).is_ok_and(|json| json["resourceType"] == "Bundle");
        assert!(!whole, "{name}");
        assert_eq!(ids_of(&sandbox.json(TARGET).await).len(), 10, "{name}");
    }
}

#[tokio::test]
async fn bodies_are_large() {
    let many = format!("{DIRECTORY}/Practitioner?_count=26");
    let sandbox = faulty(&["huge-page"]).await;
    assert!(sandbox.get(&many).await.bytes().await.unwrap().len() >= 20 << 20);
    assert!(sandbox.get(TARGET).await.bytes().await.unwrap().len() < 1 << 20);

    let sandbox = faulty(&["gzip-bomb"]).await;
    let raw = reqwest::Client::builder().no_gzip().build().unwrap();
    let answer = raw.get(format!("{}{many}", sandbox.origin)).header("accept-encoding", "gzip");
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let compressed = answer.bytes().await.unwrap();
    assert!(compressed.len() < 4 << 20);
    let unpacked = std::io::copy(&mut flate2::read::GzDecoder::new(&compressed[..]), &mut std::io::sink()).unwrap();
    assert!(unpacked > 256 << 20);
}

#[tokio::test]
async fn bodies_are_wrapped() {
    let sandbox = faulty(&["bom"]).await;
    let bytes = sandbox.get(TARGET).await.bytes().await.unwrap();
    assert!(bytes.starts_with(b"\xef\xbb\xbf{"));

    for gzip in [false, true] {
        let faults = vec!["gzip-unannounced".parse::<Fault>().unwrap()];
        let options = Options { faults, gzip, ..Options::default() };
        let sandbox = support::run(Arc::new(World::synthetic(1, 60)), options).await;
        let answer = sandbox.get(TARGET).await;
        assert!(answer.headers().get("content-encoding").is_none());
        let mut text = String::new();
        flate2::read::GzDecoder::new(&answer.bytes().await.unwrap()[..]).read_to_string(&mut text).unwrap();
        assert_eq!(ids_of(&serde_json::from_str(&text).unwrap()).len(), 10);
    }
}

#[tokio::test]
async fn content_types_are_wrong_and_accept_is_picked_at() {
    let sandbox = faulty(&["wrong-content-type"]).await;
    let answer = sandbox.get(TARGET).await;
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));

    let sandbox = faulty(&["picky-accept"]).await;
    for (accept, status) in
        [("application/fhir+json", 406), ("application/fhir+json, application/json;q=0.9", 200), ("*/*", 200)]
    {
        let request = sandbox.client.get(format!("{}{TARGET}", sandbox.origin)).header("accept", accept);
        assert_eq!(request.send().await.unwrap().status(), status, "{accept}");
    }
}

#[tokio::test]
async fn metadata_is_missing_or_lies() {
    let target = format!("{DIRECTORY}/metadata");
    let sandbox = faulty(&["metadata-missing"]).await;
    assert_eq!(sandbox.get(&target).await.status(), 404);
    let sandbox = faulty(&["metadata-html"]).await;
    assert!(sandbox.get(&target).await.text().await.unwrap().starts_with("<!DOCTYPE"));
    let sandbox = faulty(&["metadata-lies"]).await;
    let text = sandbox.get(&target).await.text().await.unwrap();
    assert!(text.contains("\"Patient\"") && !text.contains("\"type\":\"PractitionerRole\""));
    assert_eq!(sandbox.get(&format!("{DIRECTORY}/Patient")).await.status(), 404);
    assert_eq!(sandbox.get(&format!("{DIRECTORY}/PractitionerRole")).await.status(), 200);
}

async fn fetch_token(sandbox: &Running) -> Value {
    let form = [("grant_type", "client_credentials"), ("client_id", "anyone")];
    let answer = sandbox.client.post(format!("{}/oauth/token", sandbox.origin)).form(&form).send().await.unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn tokens_die() {
    for (name, uses) in [("token-5-requests", 5), ("token-15-minutes", 8)] {
        let sandbox = faulty(&[name]).await;
        assert_eq!(sandbox.get(TARGET).await.status(), 401, "{name}");
        let mut token = fetch_token(&sandbox).await;
        for use_number in 0..8 {
            let send = |token: &Value| {
                let token = token["access_token"].as_str().unwrap().to_owned();
                sandbox.client.get(format!("{}{TARGET}", sandbox.origin)).bearer_auth(token).send()
            };
            let status = send(&token).await.unwrap().status();
            assert_eq!(status, if use_number == uses { 401 } else { 200 }, "{name} {use_number}");
            if status == 401 {
                token = fetch_token(&sandbox).await;
                assert_eq!(send(&token).await.unwrap().status(), 200);
            }
        }
    }
}

#[tokio::test]
async fn a_token_lives_for_a_quarter_of_an_hour() {
    let seconds = Arc::new(AtomicU64::new(1_767_225_600));
    let clock = Arc::clone(&seconds);
    let options = Options {
        faults: vec![Fault::Token15Minutes],
        clock: Some(Arc::new(move || Duration::from_secs(clock.load(Ordering::Relaxed)))),
        ..Options::default()
    };
    let sandbox = support::run(Arc::new(World::synthetic(1, 20)), options).await;
    let token = fetch_token(&sandbox).await;
    assert_eq!(token["expires_in"], 900);
    let secret = token["access_token"].as_str().unwrap();
    let get = || sandbox.client.get(format!("{}{TARGET}", sandbox.origin)).bearer_auth(secret).send();
    seconds.fetch_add(899, Ordering::Relaxed);
    assert_eq!(get().await.unwrap().status(), 200);
    seconds.fetch_add(1, Ordering::Relaxed);
    assert_eq!(get().await.unwrap().status(), 401);
}

#[tokio::test]
async fn one_limit_for_the_whole_host() {
    let sandbox = sized(20, &["host-limit"]).await;
    let mut refused = 0;
    for turn in 0..12 {
        let target = if turn % 2 == 0 { TARGET.to_owned() } else { format!("{FORMULARY}/Basic?_count=1") };
        refused += usize::from(sandbox.get(&target).await.status() == 429);
    }
    assert!(refused > 0);
    assert!(sandbox.traffic.busiest(Duration::from_secs(1)) > 5);
}

/// A client that sends again what failed, and knows of byte order marks and relative links.
async fn patient(sandbox: &Running, target: &str) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    let mut url = reqwest::Url::parse(&format!("{}{target}", sandbox.origin)).unwrap();
    let mut failures = 0;
    loop {
        let answer = sandbox.client.get(url.clone()).timeout(Duration::from_millis(1_500)).send().await;
        let text = match answer {
            Ok(answer) if answer.status().is_success() => answer.text().await.ok(),
            _ => None,
        };
        let bundle = text.and_then(|text| serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')).ok());
        let Some(bundle) = bundle.filter(|bundle| bundle["resourceType"] == "Bundle") else {
            failures += 1;
            assert!(failures < 2, "sent again it passes");
            continue;
        };
        failures = 0;
        for id in ids_of(&bundle) {
            *ids.entry(id).or_insert(0) += 1;
        }
        let Some(next) = support::link(&bundle, "next") else { return ids };
        url = url.join(&next).unwrap();
    }
}

#[tokio::test]
async fn faults_combine_and_every_retry_passes() {
    let target = format!("{DIRECTORY}/Practitioner?_count=4");
    for (names, entries) in [
        (&["429-bare", "5xx-some", "truncated-json", "relative-next", "bom", "outcome-entries"][..], 60),
        (&["quota-403", "hang", "reset-mid-body", "overlap", "next-unescaped", "empty-page-with-next"][..], 88),
        (&["503-retry-after", "5xx-some", "html-200", "empty-last-page", "wrong-content-type", "mode-absent"][..], 0),
    ] {
        let sandbox = faulty(names).await;
        let ids = patient(&sandbox, &target).await;
        assert_eq!(ids.values().sum::<usize>(), entries, "{names:?}");
        let refused = sandbox.traffic.exchanges().iter().filter(|exchange| exchange.status != 200).count();
        assert!(refused > 0, "{names:?}");
    }
}

#[tokio::test]
async fn whoever_hangs_lets_go_when_the_sandbox_stops() {
    for (name, requests) in [("hang", 3), ("trickle", 5)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{TARGET}", listener.local_addr().unwrap());
        let traffic = Arc::new(Traffic::new());
        let faults = vec![name.parse::<Fault>().unwrap()];
        let options = Options { faults, traffic: Some(Arc::clone(&traffic)), ..Options::default() };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let world = Arc::new(World::synthetic(1, 20));
        let served = tokio::spawn(fhirvest_sandbox::serve(listener, world, options, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::new();
        for _ in 0..requests {
            client.get(&url).send().await.unwrap().bytes().await.unwrap();
        }
        let hanging = tokio::spawn(async move { client.get(url).send().await?.bytes().await });
        while traffic.requests() <= requests {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap().unwrap();
        // It may end in an empty answer or none: that it ends is the point.
        let _ = hanging.await.unwrap();
    }
}
