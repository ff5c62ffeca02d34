//! Habits 1 to 3: the shapes of next links, other origins, dead cursors.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::faulty;
use crate::support::{DIRECTORY, Running, ids_of, link};

async fn next_of(sandbox: &Running) -> String {
    link(&sandbox.json(&format!("{DIRECTORY}/Practitioner?_count=10&gender=female,male")).await, "next").unwrap()
}

async fn second_page(sandbox: &Running) -> Vec<String> {
    ids_of(&sandbox.json(&format!("{DIRECTORY}/Practitioner?_count=10&_offset=10")).await)
}

/// What RFC 3986 makes of a link, with the rewrites a job would configure.
fn resolve(sandbox: &Running, link: &str, rewrites: &[(&str, &str)]) -> String {
    let link = rewrites.iter().fold(link.to_owned(), |link, (from, to)| link.replace(from, to));
    let request = format!("{}{DIRECTORY}/Practitioner?_count=10", sandbox.origin);
    reqwest::Url::parse(&request).unwrap().join(&link).unwrap().to_string()
}

#[tokio::test]
async fn relative_links_resolve_against_the_request() {
    let sandbox = faulty(&["relative-next"]).await;
    let next = next_of(&sandbox).await;
    assert!(next.starts_with("Practitioner?"), "{next}");
    let bundle = sandbox.json(&resolve(&sandbox, &next, &[])).await;
    assert_eq!(ids_of(&bundle), second_page(&sandbox).await);
}

#[tokio::test]
async fn links_that_need_a_rewrite_lead_nowhere_without_it() {
    let without_type = (DIRECTORY.to_owned() + "?", DIRECTORY.to_owned() + "/Practitioner?");
    for (name, from, to) in [
        ("root-relative-next", "/Practitioner?", "Practitioner?"),
        ("next-outside-base", "/fhirwrapper/", "/"),
        ("next-without-type", without_type.0.as_str(), without_type.1.as_str()),
    ] {
        let sandbox = faulty(&[name]).await;
        let next = next_of(&sandbox).await;
        let plain = resolve(&sandbox, &next, &[]);
        assert_eq!(sandbox.get(&plain).await.status(), 404, "{name} {plain}");
        let rewritten = resolve(&sandbox, &next, &[(from, to)]);
        let bundle = sandbox.json(&rewritten).await;
        assert_eq!(ids_of(&bundle), second_page(&sandbox).await, "{name} {rewritten}");
    }
}

#[tokio::test]
async fn malformed_and_unescaped_links() {
    let sandbox = faulty(&["next-malformed"]).await;
    let next = next_of(&sandbox).await;
    assert_eq!(next, "&search-offset=10");
    let bundle = sandbox.json(&format!("{DIRECTORY}/Practitioner?_count=10{next}")).await;
    assert_eq!(ids_of(&bundle), second_page(&sandbox).await);

    let sandbox = faulty(&["next-unescaped"]).await;
    let next = next_of(&sandbox).await;
    assert!(next.contains(' ') && next.contains('|'), "{next}");
    let bundle = sandbox.json(&resolve(&sandbox, &next, &[])).await;
    assert_eq!(ids_of(&bundle), second_page(&sandbox).await);
}

#[tokio::test]
async fn links_to_other_origins() {
    let sandbox = faulty(&["next-other-host"]).await;
    let next = next_of(&sandbox).await;
    assert!(next.starts_with("http://localhost:"), "{next}");
    let answer = sandbox.client.get(&next).header("authorization", "Bearer stray").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let stray: Vec<_> = sandbox.traffic.exchanges().into_iter().filter(|exchange| exchange.authorization).collect();
    assert_eq!(stray.len(), 1);
    assert!(stray[0].host.starts_with("localhost:"), "the log shows which origin got the token");

    let sandbox = faulty(&["next-internal-host"]).await;
    let next = next_of(&sandbox).await;
    assert!(next.starts_with("http://fhir-internal.invalid:8080/highmark/"), "{next}");
    let rewritten = resolve(&sandbox, &next, &[("http://fhir-internal.invalid:8080/", "/")]);
    assert_eq!(ids_of(&sandbox.json(&rewritten).await), second_page(&sandbox).await);

    let sandbox = faulty(&["next-port-doubled"]).await;
    let next = next_of(&sandbox).await;
    let port = sandbox.origin.rsplit(':').next().unwrap().to_owned();
    assert!(next.contains(&format!(":{port}:{port}/")) && reqwest::Url::parse(&next).is_err(), "{next}");
}

#[tokio::test]
async fn the_scheme_is_lost_behind_a_proxy() {
    for (names, expected) in [(&[][..], "https://"), (&["next-http-scheme"][..], "http://")] {
        let sandbox = faulty(names).await;
        let request = sandbox.client.get(format!("{}{DIRECTORY}/Practitioner?_count=10", sandbox.origin));
        let text = request.header("x-forwarded-proto", "https").send().await.unwrap().text().await.unwrap();
        let bundle: Value = serde_json::from_str(&text).unwrap();
        assert!(link(&bundle, "next").unwrap().starts_with(expected));
        assert!(link(&bundle, "self").unwrap().starts_with("https://"));
    }
}

#[tokio::test]
async fn redirects_within_and_to_other_origins() {
    let sandbox = faulty(&["redirect-same-host"]).await;
    let ids = sandbox.crawl(&format!("{DIRECTORY}/Practitioner?_count=10")).await;
    assert_eq!(ids.len(), 60);
    let statuses: Vec<u16> = sandbox.traffic.exchanges().iter().map(|exchange| exchange.status).collect();
    assert!(statuses.contains(&307));

    let sandbox = faulty(&["redirect-other-host"]).await;
    let ids = sandbox.crawl(&format!("{DIRECTORY}/Practitioner?_count=10")).await;
    assert_eq!(ids.len(), 60);
    let hosts: BTreeMap<String, u16> =
        sandbox.traffic.exchanges().into_iter().map(|exchange| (exchange.host, exchange.status)).collect();
    assert!(hosts.len() == 2 && hosts.keys().any(|host| host.starts_with("localhost")), "{hosts:?}");
}

/// Follows next links; the status that ended it and how many matches came before.
async fn until_refused(sandbox: &Running, target: &str) -> (u16, usize) {
    let mut next = Some(target.to_owned());
    let mut seen = 0;
    while let Some(target) = next {
        let answer = sandbox.get(&target).await;
        let status = answer.status().as_u16();
        if status != 200 {
            return (status, seen);
        }
        let bundle: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        seen += ids_of(&bundle).len();
        next = link(&bundle, "next");
    }
    (200, seen)
}

#[tokio::test]
async fn cursors_die() {
    let target = format!("{DIRECTORY}/Practitioner?_count=10");
    let sandbox = faulty(&["cursor-expires"]).await;
    let old = next_of(&sandbox).await;
    assert_eq!(
        until_refused(&sandbox, &format!("{DIRECTORY}/Practitioner?_count=10&gender=female,male")).await,
        (410, 20)
    );
    assert_eq!(sandbox.get(&old).await.status(), 410, "links of the first life stay dead");
    assert_eq!(
        until_refused(&sandbox, &format!("{DIRECTORY}/Practitioner?_count=10&gender=female,male")).await,
        (200, 60)
    );
    assert_eq!(until_refused(&sandbox, &target).await, (410, 20), "another search has its own life");

    let sandbox = faulty(&["cursor-always-expires"]).await;
    assert_eq!(until_refused(&sandbox, &target).await, (404, 30));
    assert_eq!(until_refused(&sandbox, &target).await, (404, 30));

    let sandbox = faulty(&["page-2-dead"]).await;
    assert_eq!(until_refused(&sandbox, &target).await, (500, 10));
    assert_eq!(until_refused(&sandbox, &target).await, (500, 10));
}
