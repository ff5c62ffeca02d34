//! A payer that shares nothing with the sandbox, in other words and shapes, for each habit of servers that shows in
//! answers: what a crawl calls complete is the whole, what has an answer is crawled whole, and nothing is asked of
//! another origin or without end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    ending::Status,
    engine::{Crawl, ResourcePlan},
    event::Silent,
    memory::MemoryStore,
    retry::Retrying,
    source::{Limits, Source},
    store::Store,
    transport::{Reply, Request, Transport, TransportError},
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::watch;
use url::Url;

const ROWS: usize = 183;
const PAGE: usize = 20;

/// A question as the payer sees it: its parameters, and how many questions came before.
struct Asked {
    query: BTreeMap<String, String>,
    number: usize,
}

impl Asked {
    fn number_of(&self, name: &str) -> Option<usize> {
        self.query.get(name)?.parse().ok()
    }

    /// The first row of the page.
    fn from(&self) -> usize {
        self.number_of("token").unwrap_or(0)
    }

    fn count(&self) -> usize {
        self.number_of("_count").unwrap_or(PAGE)
    }
}

/// An answer, to be spoilt and then written down: the shape is HAPI's, Azure's and nobody's.
#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    before: String,
    entries: Vec<String>,
    total: Option<String>,
    next: Option<String>,
    /// In place of the Bundle.
    body: Option<String>,
}

impl Answer {
    fn text(self) -> String {
        let link = self.next.map(|next| format!(r#"{{"url":{},"relation":"next"}}"#, serde_json::Value::from(next)));
        let total = self.total.map(|total| format!("\n  \"total\" : {total},")).unwrap_or_default();
        let entries = self.entries.join(" ,\n");
        let whole = format!(
            "{}{{ \"link\" : [ {{\"relation\":\"self\",\"url\":\"x\"}}{}{} ],{total}\r\n \"entry\":[{entries}],\"type\":\"searchset\",\"resourceType\":\"Bundle\"}}\n",
            self.before,
            if link.is_some() { "," } else { "" },
            link.unwrap_or_default(),
        );
        self.body.unwrap_or(whole)
    }

    fn outcome(mut self, status: u16, text: &str) -> Self {
        self.status = status;
        self.body = Some(format!(
            r#"{{"issue":[{{"severity":"error","code":"processing","details":{{"text":"{text}"}}}}],"resourceType":"OperationOutcome"}}"#
        ));
        self
    }

    fn saying(mut self, status: u16, body: &str) -> Self {
        self.status = status;
        self.body = Some(body.to_owned());
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

fn row(number: usize) -> String {
    format!(
        r#"{{"search":{{"mode":"match"}},"resource":{{"name":"Office {number}","id":"loc.{number:04}","resourceType":"Location"}}}}"#
    )
}

/// What a payer without habits answers: pages by a token, ids in order, a true total.
fn good(asked: &Asked) -> Answer {
    let descending = asked.query.get("_sort").is_some_and(|sort| sort == "-_id");
    let (from, count) = (asked.from(), if asked.query.contains_key("_summary") { 0 } else { asked.count().min(PAGE) });
    let rows = (from..ROWS.min(from + count)).map(|number| if descending { ROWS - 1 - number } else { number });
    let more = from + count < ROWS && count > 0;
    let kept = ["_count", "_sort", "_lastUpdated"].iter().filter_map(|name| Some((name, asked.query.get(*name)?)));
    let kept: String = kept.map(|(name, value)| format!("&{name}={value}")).collect();
    Answer {
        status: 200,
        headers: Vec::new(),
        before: String::new(),
        entries: rows.map(row).collect(),
        total: Some(ROWS.to_string()),
        next: more.then(|| format!("https://a.example/fhir/Location?token={}{kept}", from + count)),
        body: None,
    }
}

type Payer = fn(&Asked) -> Answer;

struct Server {
    payer: Payer,
    asked: Arc<Mutex<Vec<Url>>>,
}

impl Transport for Server {
    async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(request.url.clone());
            asked.len() - 1
        };
        let query = request.url.query_pairs().into_owned().collect();
        let answer = (self.payer)(&Asked { query, number });
        if answer.headers.iter().any(|(name, _)| *name == "too-large") {
            return Err(TransportError::TooLarge { limit: 1 });
        }
        let headers = answer.headers.iter();
        let headers: HeaderMap = headers
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        Ok(Reply { status: answer.status, headers, body: answer.text().into(), url: request.url.clone() })
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// What came of a crawl: its status, the ids held, and what was asked.
async fn crawl(payer: Payer) -> (Status, usize, Vec<Url>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let server = Server { payer, asked: Arc::clone(&asked) };
    let (_keep, cancel) = watch::channel(false);
    let limits = Limits::default();
    let fetcher = Retrying::new(server, limits, 0.0, now, Arc::new(Silent), cancel);
    let store = Arc::new(MemoryStore::default());
    let source = Source::new(Url::parse("https://a.example/fhir").unwrap());
    let crawl = Crawl::new(fetcher, Arc::clone(&store), source, limits, 2, Arc::new(Silent));
    let plan = ResourcePlan { page_size: Some(50), ..ResourcePlan::new("Location") };
    let outcome = crawl.run(&[plan]).await.unwrap();
    let held = store.ids("Location", None, usize::MAX).await.unwrap().len();
    let asked = asked.lock().unwrap().clone();
    (outcome.resources[0].status, held, asked)
}

async fn all(payers: &[(&str, Payer)], whole: bool) {
    let mut wrong = Vec::new();
    for (habit, payer) in payers {
        let (status, held, asked) = crawl(*payer).await;
        let sound = matches!(status, Status::Complete | Status::Empty);
        if sound != whole || (whole && held != ROWS) {
            wrong.push(format!("{habit}: {status} with {held} of {ROWS}"));
        }
        let origin = Url::parse("https://a.example").unwrap().origin();
        if let Some(stray) = asked.iter().find(|url| url.origin() != origin) {
            wrong.push(format!("{habit}: {stray} is asked"));
        }
        if asked.len() > 400 {
            wrong.push(format!("{habit}: {} requests", asked.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The link of a page written in another way.
fn relinked(asked: &Asked, how: fn(&str) -> String) -> Answer {
    let answer = good(asked);
    Answer { next: answer.next.as_deref().map(how), ..answer }
}

#[tokio::test(start_paused = true)]
async fn what_has_an_answer_is_crawled_whole() {
    let payers: &[(&str, Payer)] = &[
        ("0 nothing", good),
        ("1 dot relative", |q| relinked(q, |next| next.replace("https://a.example/fhir/", "./"))),
        ("1 query only", |q| relinked(q, |next| next.replace("https://a.example/fhir/Location", ""))),
        ("1 path absolute", |q| relinked(q, |next| next.replace("https://a.example", ""))),
        ("1 without a scheme", |q| relinked(q, |next| next.replace("https:", ""))),
        ("1 spaces around", |q| relinked(q, |next| format!(" {next}\n"))),
        ("1 unescaped", |q| relinked(q, |next| format!("{next}&note=a|b c{{d}}"))),
        ("2 http", |q| relinked(q, |next| next.replace("https", "http"))),
        ("2 http and its port", |q| relinked(q, |next| next.replace("https://a.example", "http://a.example:80"))),
        ("2 its own port", |q| relinked(q, |next| next.replace("a.example", "a.example:443"))),
        ("2 capitals", |q| relinked(q, |next| next.replace("https://a.example", "HTTPS://A.Example"))),
        ("3 gone once", |q| if q.number == 3 { good(q).outcome(410, "this cursor has timed out") } else { good(q) }),
        ("3 unknown once", |q| if q.number == 2 { good(q).saying(404, "no such page") } else { good(q) }),
        ("5 null for entries", |q| Answer {
            entries: [good(q).entries, vec!["null".into(), "{}".into()]].concat(),
            ..good(q)
        }),
        ("6 overlap without a count", |q| {
            let first = (q.from() > 0).then(|| row(q.from() - 1));
            Answer { entries: first.into_iter().chain(good(q).entries).collect(), total: None, ..good(q) }
        }),
        (
            "10 too many, refused",
            |q| if q.count() > 10 { good(q).outcome(422, "page size exceeds 10") } else { good(q) },
        ),
        ("10 too many, nothing", |q| match q.count() {
            0..=10 => good(q),
            _ => Answer { entries: Vec::new(), total: Some("0".into()), next: None, ..good(q) },
        }),
        ("11 a filter is wanted", |q| match q.query.get("_lastUpdated").or(q.query.get("token")) {
            None => good(q).outcome(200, "at least one search parameter must be given"),
            Some(_) => good(q),
        }),
        ("12 no total", |q| Answer { total: None, ..good(q) }),
        ("12 text for a total", |q| Answer { total: Some("\"183\"".into()), ..good(q) }),
        ("12 minus one", |q| Answer { total: Some("-1".into()), ..good(q) }),
        ("12 null", |q| Answer { total: Some("null".into()), ..good(q) }),
        ("13 a date that is over", |q| match q.number % 3 {
            1 => good(q).saying(429, "slow down").with("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
            _ => good(q),
        }),
        ("13 milliseconds since 1970", |q| match q.number % 3 {
            1 => good(q).saying(429, "").with("x-ratelimit-reset", "1800000004000"),
            _ => good(q),
        }),
        ("13 a quota as 403", |q| match q.number % 3 {
            1 => good(q).outcome(403, "quota exceeded").with("retry-after", "2"),
            _ => good(q),
        }),
        ("13 a part of a second", |q| match q.number % 3 {
            1 => good(q).saying(503, "busy").with("retry-after", "0.5"),
            _ => good(q),
        }),
        ("15 large pages fail", |q| if q.count() > 10 { good(q).saying(502, "Bad Gateway") } else { good(q) }),
        ("15 large pages fail later", |q| match (q.count() > 10, q.from()) {
            (true, 40..) => good(q).saying(500, "out of memory"),
            _ => good(q),
        }),
        ("15 cut off twice", |q| match q.number {
            2 | 3 => good(q).saying(200, "{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{\"reso"),
            _ => good(q),
        }),
        ("17 pages beyond the limit", |q| if q.count() > 10 { good(q).with("too-large", "") } else { good(q) }),
        ("17 beyond the limit later", |q| match (q.count() > 10, q.from()) {
            (true, 40..) => good(q).with("too-large", ""),
            _ => good(q),
        }),
        ("18 a byte order mark", |q| Answer { before: "\u{feff}".into(), ..good(q) }),
        ("19 outcomes and others", |q| {
            let more = [
                r#"{"resource":{"resourceType":"OperationOutcome","issue":[{"severity":"information","code":"informational"}]}}"#,
                r#"{"search":{"mode":"include"},"resource":{"id":"o","resourceType":"Organization"}}"#,
            ];
            Answer { entries: good(q).entries.into_iter().chain(more.map(Into::into)).collect(), ..good(q) }
        }),
        ("20 a key twice", |q| {
            let entries =
                good(q).entries.iter().map(|one| one.replace("{\"name\"", "{\"name\":1e999,\"name\"")).collect();
            Answer { entries, ..good(q) }
        }),
        ("28 one more", |q| Answer { total: Some((ROWS + q.from() / 40).min(ROWS + 1).to_string()), ..good(q) }),
    ];
    all(payers, true).await;
}

#[tokio::test(start_paused = true)]
async fn what_has_none_is_never_called_complete() {
    let payers: &[(&str, Payer)] = &[
        ("1 no address", |q| relinked(q, |_| "http://".into())),
        ("2 an inner host", |q| relinked(q, |next| next.replace("a.example", "fhir.inside.lan"))),
        ("2 a name before the host", |q| relinked(q, |next| next.replace("a.example", "a.example@evil.example"))),
        ("2 a longer host", |q| relinked(q, |next| next.replace("a.example", "a.example.evil.example"))),
        ("2 backslashes", |q| relinked(q, |next| next.replace("https://a.example/", "\\\\evil.example\\"))),
        ("2 another port", |q| relinked(q, |next| next.replace("a.example", "a.example:8443"))),
        ("3 gone each time", |q| if q.from() >= 40 { good(q).saying(410, "") } else { good(q) }),
        ("3 an outcome for a page", |q| if q.from() >= 40 { good(q).outcome(200, "search expired") } else { good(q) }),
        ("4 the same again and again", |q| {
            let next = format!("Location?token=20&nonce={}", q.number);
            Answer { next: (q.from() > 0).then_some(next).or(good(q).next), total: None, ..good(q) }
        }),
        ("5 empty without end", |q| match q.from() {
            180.. => Answer { entries: Vec::new(), next: Some(format!("Location?token={}", q.from() + 1)), ..good(q) },
            _ => good(q),
        }),
        ("6 rows that turn around, no count", |q| {
            let turned = |number: usize| row((number * 7 + q.number * 3) % ROWS);
            let rows = q.from()..ROWS.min(q.from() + PAGE);
            Answer { entries: rows.map(turned).collect(), total: None, ..good(q) }
        }),
        ("8 no link", |q| Answer { next: None, total: None, ..good(q) }),
        ("8 no link, a page for a total", |q| Answer { next: None, total: Some(PAGE.to_string()), ..good(q) }),
        ("8 no link, the true total", |q| Answer { next: None, ..good(q) }),
        ("9 a ceiling and the true total", |q| Answer { next: good(q).next.filter(|_| q.from() < 20), ..good(q) }),
        ("9 a ceiling of any number, for the total, too", |q| match q.query.get("_sort") {
            Some(_) => good(q),
            None => {
                let (from, to) = (q.from(), (q.from() + PAGE).min(137));
                let next = (to < 137).then(|| format!("?token={to}"));
                Answer { entries: (from..to).map(row).collect(), total: Some("137".into()), next, ..good(q) }
            }
        }),
        ("11 nothing is allowed", |q| good(q).outcome(200, "a practitioner must be given")),
        ("12 the total is more", |q| Answer { total: Some("300".into()), ..good(q) }),
        ("13 always too many", |q| good(q).saying(429, "")),
        ("13 come back tomorrow", |q| match q.from() {
            40.. => good(q).saying(429, "").with("retry-after", "86400"),
            _ => good(q),
        }),
        ("14 no longer allowed", |q| if q.from() >= 40 { good(q).saying(401, "<html>") } else { good(q) }),
        ("14 forbidden", |q| if q.from() >= 40 { good(q).outcome(403, "no") } else { good(q) }),
        ("15 always failing", |q| if q.from() >= 40 { good(q).saying(500, "") } else { good(q) }),
        ("18 a login page", |q| if q.from() >= 40 { good(q).saying(200, "\n <!DOCTYPE html>") } else { good(q) }),
        ("18 XML", |q| good(q).saying(200, "<Bundle xmlns=\"http://hl7.org/fhir\"/>")),
        ("18 null", |q| good(q).saying(200, "null")),
        ("18 an array", |q| good(q).saying(200, "[]")),
        ("18 no content", |q| good(q).saying(204, "")),
        ("20 numbers for ids", |q| {
            let entries = good(q).entries.iter().map(|one| one.replace("\"loc.00", "7,\"was\":\"")).collect();
            Answer { entries, ..good(q) }
        }),
        ("23 no such type", |q| good(q).saying(404, "")),
    ];
    all(payers, false).await;
}
