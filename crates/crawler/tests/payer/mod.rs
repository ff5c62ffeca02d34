//! A payer that shares nothing with the sandbox, in other words and shapes: it pages by a token, and spoils its answers
//! by one habit or by several.
#![allow(dead_code, reason = "not every test needs all of it")]

mod answers;
mod pages;

use std::{
    collections::BTreeSet,
    fmt::Display,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use fhirvest_crawler::{
    engine::{Crawl, ResourceOutcome, ResourcePlan},
    event::Silent,
    memory::MemoryStore,
    retry::Retrying,
    source::{Limits, Source},
    store::Store,
    transport::{Reply, Request, Transport, TransportError},
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::{sync::watch, time::Instant};
use url::Url;

/// Rows of the payer, where a test does not say another number.
pub(crate) const ROWS: usize = 183;
pub(crate) const PAGE: usize = 20;

/// A question as the payer sees it.
pub(crate) struct Asked {
    /// The parameters, in the order of the question.
    pub(crate) query: Vec<(String, String)>,
    /// How many questions came before.
    pub(crate) number: usize,
    /// Rows that the payer has.
    pub(crate) rows: usize,
}

impl Asked {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn number_of(&self, name: &str) -> Option<usize> {
        self.get(name)?.parse().ok()
    }

    /// The first row of the page.
    pub(crate) fn from(&self) -> usize {
        self.number_of("token").or(self.number_of("_skip")).unwrap_or(0)
    }

    pub(crate) fn count(&self) -> usize {
        self.number_of("_count").unwrap_or(PAGE)
    }

    /// Its parameters besides the place, as a link repeats them.
    pub(crate) fn filters(&self) -> String {
        let kept = self.query.iter().filter(|(name, _)| !["token", "_skip"].contains(&name.as_str()));
        kept.map(|(name, value)| format!("&{name}={value}")).collect()
    }

    /// It asks for a number only.
    pub(crate) fn counts(&self) -> bool {
        self.get("_summary").is_some()
    }

    /// The rows that its filters leave.
    pub(crate) fn found(&self) -> Vec<usize> {
        let fits = |number: &usize| {
            self.query.iter().all(|(name, value)| match name.as_str() {
                "_lastUpdated" => {
                    let time = stamp(*number);
                    value.split_at_checked(2).is_none_or(|(prefix, bound)| match prefix {
                        "ge" => time.as_str() >= bound,
                        "lt" => time.as_str() < bound,
                        _ => true,
                    })
                }
                "name" => name_of(*number).to_lowercase().starts_with(&value.to_lowercase()),
                _ => true,
            })
        };
        let mut found: Vec<usize> = (0..self.rows).filter(fits).collect();
        if self.get("_sort") == Some("-_id") {
            found.reverse();
        }
        found
    }
}

/// An answer, to be spoilt and then written down: the shape is HAPI's, Azure's and nobody's.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) before: String,
    pub(crate) entries: Vec<String>,
    pub(crate) total: Option<String>,
    pub(crate) next: Option<String>,
    pub(crate) relation: &'static str,
    /// In place of all links.
    pub(crate) links: Option<String>,
    /// In place of the array of entries.
    pub(crate) entry: Option<String>,
    /// In place of the Bundle.
    pub(crate) body: Option<Vec<u8>>,
}

impl Answer {
    fn text(self) -> Vec<u8> {
        let url = self.next.map(serde_json::Value::from);
        let link = url.map(|url| format!(r#"{{"url":{url},"relation":"{}"}}"#, self.relation));
        let total = self.total.map(|total| format!("\n  \"total\" : {total},")).unwrap_or_default();
        let entry = self.entry.unwrap_or_else(|| format!("[{}]", self.entries.join(" ,\n")));
        let links = self.links.unwrap_or_else(|| {
            let comma = if link.is_some() { "," } else { "" };
            format!(r#"[ {{"relation":"self","url":"x"}}{comma}{} ]"#, link.unwrap_or_default())
        });
        let whole = format!(
            "{}{{ \"link\" : {links},{total}\r\n \"entry\":{entry},\"type\":\"searchset\",\"resourceType\":\"Bundle\"}}\n",
            self.before
        );
        self.body.unwrap_or_else(|| whole.into_bytes())
    }

    pub(crate) fn outcome(self, status: u16, text: &str) -> Self {
        let body = format!(
            r#"{{"issue":[{{"severity":"error","code":"processing","details":{{"text":"{text}"}}}}],"resourceType":"OperationOutcome"}}"#
        );
        self.saying(status, body)
    }

    pub(crate) fn saying(mut self, status: u16, body: impl Into<Vec<u8>>) -> Self {
        self.status = status;
        self.body = Some(body.into());
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The body as it would have been, in other bytes.
    pub(crate) fn written(mut self, how: impl Fn(Vec<u8>) -> Vec<u8>) -> Self {
        self.body = Some(how(self.clone().text()));
        self
    }

    /// Every entry in other words.
    pub(crate) fn each(mut self, how: impl Fn(&str) -> String) -> Self {
        self.entries = self.entries.iter().map(|entry| how(entry)).collect();
        self
    }

    /// The next link in other words.
    pub(crate) fn relinked(mut self, how: impl Fn(&str) -> String) -> Self {
        self.next = self.next.as_deref().map(how);
        self
    }

    pub(crate) fn without_total(self) -> Self {
        Self { total: None, ..self }
    }

    pub(crate) fn total(self, total: impl Display) -> Self {
        Self { total: Some(total.to_string()), ..self }
    }
}

fn name_of(number: usize) -> String {
    format!("{} Office {number}", ["Abel", "Berg", "Cole", "Dunn", "Abbey"][number % 5])
}

fn stamp(number: usize) -> String {
    let seconds = 1_500_000_000 + i64::try_from(number).unwrap() * 1_000_003;
    DateTime::from_timestamp(seconds, 0).unwrap().to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(crate) fn id_of(number: usize) -> String {
    format!("loc.{number:04}")
}

pub(crate) fn row(number: usize) -> String {
    let (id, name, stamp) = (id_of(number), name_of(number), stamp(number));
    format!(
        r#"{{"search":{{"mode":"match"}},"resource":{{"name":"{name}","meta":{{"lastUpdated":"{stamp}"}},"id":"{id}","resourceType":"Location"}}}}"#
    )
}

/// What a payer without habits answers: pages by a token, ids in order, a true total.
pub(crate) fn good(asked: &Asked) -> Answer {
    let found = asked.found();
    let (from, count) = (asked.from(), if asked.counts() { 0 } else { asked.count().min(PAGE) });
    let more = from + count < found.len() && count > 0;
    Answer {
        status: 200,
        headers: Vec::new(),
        before: String::new(),
        entries: found.iter().skip(from).take(count).map(|number| row(*number)).collect(),
        total: Some(found.len().to_string()),
        next: more.then(|| format!("https://a.example/fhir/Location?token={}{}", from + count, asked.filters())),
        relation: "next",
        links: None,
        entry: None,
        body: None,
    }
}

/// Requests that are answered: a crawl without end has to come to one in a test.
const MOST_ANSWERED: usize = 15_000;

/// What spoils an answer to a question.
pub(crate) type Habit = fn(&Asked, Answer) -> Answer;

struct Server {
    rows: usize,
    habits: Vec<Habit>,
    asked: Arc<Mutex<Vec<Url>>>,
}

impl Transport for Server {
    async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(request.url.clone());
            asked.len() - 1
        };
        if number >= MOST_ANSWERED {
            return Err(TransportError::Redirect { target: "nowhere any more".into() });
        }
        let query = request.url.query_pairs().into_owned().collect();
        let asked = Asked { query, number, rows: self.rows };
        let answer = self.habits.iter().fold(good(&asked), |answer, habit| habit(&asked, answer));
        if answer.headers.iter().any(|(name, _)| *name == "too-large") {
            return Err(TransportError::TooLarge { limit: 1 });
        }
        if let Some((_, limit)) = answer.headers.iter().find(|(name, _)| *name == "too-slow") {
            let limit = Duration::from_secs(limit.parse().unwrap());
            tokio::time::sleep(limit).await;
            return Err(TransportError::Timeout { limit });
        }
        // What cannot stand in a header (a link with a line break) stands in none.
        let headers = answer.headers.iter();
        let headers: HeaderMap = headers
            .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?)))
            .collect();
        Ok(Reply { status: answer.status, headers, body: answer.text().into(), url: request.url.clone() })
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// What came of a crawl.
pub(crate) struct Crawled {
    pub(crate) outcome: ResourceOutcome,
    pub(crate) held: BTreeSet<String>,
    pub(crate) asked: Vec<Url>,
    /// How long it would have taken: the clock is paused.
    pub(crate) took: Duration,
}

/// Pages of one partition: a payer that pages for ever must not cost a test its time.
pub(crate) const MAX_PAGES: u64 = 300;

/// Crawls a payer of so many rows with these habits.
pub(crate) async fn crawl(rows: usize, habits: &[Habit], plan: ResourcePlan) -> Crawled {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let server = Server { rows, habits: habits.to_vec(), asked: Arc::clone(&asked) };
    let (_keep, cancel) = watch::channel(false);
    let limits = Limits { max_pages: MAX_PAGES, ..Limits::default() };
    let fetcher = Retrying::new(server, limits, 0.0, now, Arc::new(Silent), cancel);
    let store = Arc::new(MemoryStore::default());
    let source = Source::new(Url::parse("https://a.example/fhir").unwrap());
    let crawl = Crawl::new(fetcher, Arc::clone(&store), source, limits, 2, Arc::new(Silent));
    let started = Instant::now();
    let mut outcome = crawl.run(&[plan]).await.unwrap();
    let took = started.elapsed();
    let held = store.ids("Location", None, usize::MAX).await.unwrap().into_iter().collect();
    let asked = asked.lock().unwrap().clone();
    Crawled { outcome: outcome.resources.remove(0), held, asked, took }
}

/// What a crawl of a payer with one habit must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Complete.
    Whole,
    /// Neither complete nor empty: there is no way to the whole, or none that could be known.
    Partial,
    /// Complete with the whole, or neither complete nor empty.
    Sound,
}

/// Every habit of the payer: its number in the crawling notes and what it does, what a plain crawl must come to, and how
/// it spoils an answer.
pub(crate) fn habits() -> impl Iterator<Item = &'static (&'static str, Expected, Habit)> {
    pages::LINKS.iter().chain(pages::PAGES).chain(answers::ANSWERS)
}
