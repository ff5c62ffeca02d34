//! Each platform: a plain crawl ends short and can tell, the way out that the platform's notes name gets everything.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use fhirvest_sandbox::{Options, Platform, World};
use reqwest::Url;
use serde_json::Value;
use support::{DIRECTORY, Running, ids_of, link, run};

static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| Arc::new(World::synthetic(1, 400)));
const ROLES: &str = "/highmark/provider-directory/PractitionerRole";

async fn platform(name: &str) -> Running {
    let platform = Some(name.parse::<Platform>().unwrap());
    run(Arc::clone(&WORLD), Options { platform, ..Options::default() }).await
}

/// A client that follows next links and does nothing else.
struct Crawl<'a> {
    sandbox: &'a Running,
    token: Option<String>,
    rewrites: &'a [(&'a str, &'a str)],
}

/// What a crawl came to: the ids, the total of the first page, and what ended it (200 for the server's own end, 0 when
/// the connection failed).
#[derive(Debug)]
struct End {
    ids: BTreeSet<String>,
    total: Option<u64>,
    status: u16,
}

impl Crawl<'_> {
    async fn run(&self, target: &str) -> End {
        let mut end = End { ids: BTreeSet::new(), total: None, status: 200 };
        let mut url = Url::parse(&format!("{}{target}", self.sandbox.origin)).unwrap();
        loop {
            let mut request = self.sandbox.client.get(url.clone());
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let Ok(answer) = request.send().await else {
                end.status = 0;
                return end;
            };
            end.status = answer.status().as_u16();
            if end.status != 200 {
                return end;
            }
            let bundle: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            end.ids.extend(ids_of(&bundle));
            end.total = end.total.or(bundle["total"].as_u64());
            let Some(next) = link(&bundle, "next") else { return end };
            let next = self.rewrites.iter().fold(next, |next, (from, to)| next.replace(from, to));
            url = url.join(&next).unwrap();
        }
    }
}

fn plain(sandbox: &Running) -> Crawl<'_> {
    Crawl { sandbox, token: None, rewrites: &[] }
}

fn everything() -> usize {
    WORLD.resources(DIRECTORY, "PractitionerRole").count()
}

#[tokio::test]
async fn a_plain_crawl_ends_short_and_can_tell() {
    assert!(everything() > 700);
    for (name, status) in [
        ("hapi", 200),
        ("firely", 0),
        ("azure", 200),
        ("smile", 404),
        ("aidbox", 404),
        ("healthsparq", 401),
        ("innovaccer", 404),
        ("intersystems", 413),
        ("abacus", 200),
        ("opala", 500),
    ] {
        let sandbox = platform(name).await;
        let end = plain(&sandbox).run(&format!("{ROLES}?_count=100")).await;
        assert!(end.ids.len() < everything(), "{name}");
        assert_eq!(end.status, status, "{name}");
        if status == 200 {
            let counted = sandbox.total(&format!("{ROLES}?_summary=count")).await;
            assert_eq!(counted, everything() as u64, "{name}: the count tells");
        }
    }
}

#[tokio::test]
async fn order_rewrites_and_tokens() {
    let rewrite = [("http://fhir-internal.invalid:8080/", "/"), ("/fhirwrapper/", "/")];
    for (name, target) in [("hapi", "?_count=100&_sort=_id"), ("firely", "?_count=100"), ("innovaccer", "?_count=100")]
    {
        let sandbox = platform(name).await;
        let crawl = Crawl { sandbox: &sandbox, token: None, rewrites: &rewrite };
        let end = crawl.run(&format!("{ROLES}{target}")).await;
        assert_eq!((end.ids.len(), end.status), (everything(), 200), "{name}");
    }
    let sandbox = platform("smile").await;
    assert_eq!(plain(&sandbox).run(&format!("{ROLES}?_count=500")).await.ids.len(), everything());
    assert_eq!(platform("innovaccer").await.get(&format!("{DIRECTORY}/metadata")).await.status(), 404);

    let sandbox = platform("healthsparq").await;
    let form = [("grant_type", "client_credentials")];
    let answer = sandbox.client.post(format!("{}/oauth/token", sandbox.origin)).form(&form).send().await.unwrap();
    let token: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let token = token["access_token"].as_str().map(str::to_owned);
    let crawl = Crawl { sandbox: &sandbox, token, rewrites: &[] };
    assert_eq!(crawl.run(&format!("{ROLES}?_count=100")).await.ids.len(), everything());
    let large = crawl.run(&format!("{ROLES}?_count=101")).await;
    assert_eq!((large.ids.len(), large.total), (0, Some(0)));
}

/// Advances a parameter by what was received until a page is empty.
async fn walk(sandbox: &Running, target: &str, parameter: &str, by_page: bool) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let (mut place, mut pages) = (0, 0);
    loop {
        pages += 1;
        let value = if by_page { pages } else { place };
        let page = ids_of(&sandbox.json(&format!("{target}&{parameter}={value}")).await);
        if page.is_empty() {
            return ids;
        }
        place += page.len();
        ids.extend(page);
    }
}

#[tokio::test]
async fn walking_by_a_named_parameter() {
    for (name, parameter, by_page) in [("firely", "_skip", false), ("aidbox", "page", true), ("abacus", "_skip", false)]
    {
        let sandbox = platform(name).await;
        let ids = walk(&sandbox, &format!("{ROLES}?_count=100&_sort=_id"), parameter, by_page).await;
        assert_eq!(ids.len(), everything(), "{name}");
    }
}

#[tokio::test]
async fn windows_of_last_updated() {
    for name in ["azure", "intersystems", "smile"] {
        let sandbox = platform(name).await;
        let mut windows = vec![(1_650_000_000_i64, 1_800_000_000_i64)];
        let mut ids = BTreeSet::new();
        while let Some((from, to)) = windows.pop() {
            let day = |seconds| {
                chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("%Y-%m-%dT%H:%M:%SZ").to_string()
            };
            let search = format!("{ROLES}?_lastUpdated=ge{}&_lastUpdated=lt{}", day(from), day(to));
            if sandbox.total(&format!("{search}&_summary=count")).await > 250 {
                let middle = from + (to - from) / 2;
                windows.extend([(from, middle), (middle, to)]);
                continue;
            }
            let end = plain(&sandbox).run(&format!("{search}&_count=100")).await;
            assert_eq!(end.status, 200, "{name}");
            ids.extend(end.ids);
        }
        assert_eq!(ids.len(), everything(), "{name}");
    }
}

#[tokio::test]
async fn small_searches_where_page_two_is_dead() {
    let sandbox = platform("opala").await;
    let mut practitioners = BTreeSet::new();
    for letter in 'a'..='z' {
        let page = sandbox.json(&format!("{DIRECTORY}/Practitioner?_count=200&family={letter}")).await;
        practitioners.extend(ids_of(&page));
    }
    let umlaut = sandbox.json(&format!("{DIRECTORY}/Practitioner?family=M%C3%BC")).await;
    assert!(ids_of(&umlaut).iter().all(|id| practitioners.contains(id)));
    assert_eq!(practitioners.len(), 400);
    let practitioners: Vec<String> = practitioners.into_iter().collect();
    let mut roles = BTreeSet::new();
    for batch in practitioners.chunks(25) {
        let page = sandbox.json(&format!("{ROLES}?_count=200&practitioner={}", batch.join(","))).await;
        assert!(link(&page, "next").is_none());
        roles.extend(ids_of(&page));
    }
    let anonymous = sandbox.total(&format!("{ROLES}?practitioner:missing=true")).await;
    let dangling =
        WORLD.resources(DIRECTORY, "PractitionerRole").filter(|role| role.contains("practitioner-retired")).count();
    assert_eq!(roles.len() + dangling, everything() - usize::try_from(anonymous).unwrap());
}

#[tokio::test]
async fn offsets_end_at_9990() {
    let platform = Some("1uphealth".parse::<Platform>().unwrap());
    let world = Arc::new(World::synthetic(1, 10_200));
    let sandbox = run(Arc::clone(&world), Options { platform, ..Options::default() }).await;
    let end = plain(&sandbox).run(&format!("{DIRECTORY}/Practitioner?_count=1000")).await;
    assert_eq!((end.ids.len(), end.total, end.status), (10_000, Some(10_200), 400));
}
