//! A server that spoils its answers below HTTP's surface: lengths and encodings that lie, connections that break, answers
//! that trickle or never come, redirects without end. Everything goes over real sockets, as bytes that no HTTP library has
//! written. What breaks once is no harm, what breaks always is told, nothing hangs, and nobody else is asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use chrono::{DateTime, Utc};
use fhirvest_crawler::{
    ending::Status,
    engine::{Crawl, ResourceOutcome, ResourcePlan},
    event::Silent,
    http::Http,
    memory::MemoryStore,
    retry::Retrying,
    source::{Credentials, Limits, Source},
    store::Store,
};
use flate2::{Compression, write::GzEncoder};
use futures_util::future::join_all;
use secrecy::SecretString;
use tokio::sync::watch;
use url::Url;

const ROWS: usize = 50;
const PAGE: usize = 10;

/// The row whose page is spoilt.
const SPOILT: usize = 25;

/// A page may be so large, decompressed.
const LARGEST: usize = 1 << 20;

/// No case takes longer, not even on a machine with much else to do: one that does hangs.
const LONGEST: Duration = Duration::from_secs(100);

/// What a question is answered with, and what becomes of the connection.
struct Answer {
    bytes: Vec<u8>,
    then: Then,
}

enum Then {
    /// The next question may come.
    Keep,
    Close,
    /// Nothing more comes, and the connection stays open.
    Hang,
    /// The bytes come one by one, and never all of them.
    Drip,
    /// The question is not even read to its end.
    Reset,
}

/// A question, and what an honest server would say.
struct Question {
    body: String,
    /// The path and query that were asked for.
    target: String,
    /// An origin that nobody trusts.
    foreign: String,
    /// Redirects that led here.
    hops: usize,
}

fn plain(body: &[u8]) -> Answer {
    answer(&[&format!("Content-Length: {}", body.len())], body)
}

/// A status of 200 with these headers.
fn answer(headers: &[&str], body: &[u8]) -> Answer {
    said("HTTP/1.1 200 OK", headers, body)
}

fn said(status: &str, headers: &[&str], body: &[u8]) -> Answer {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("{status}\r\nContent-Type: application/fhir+json\r\n{lines}\r\n");
    Answer { bytes: [head.as_bytes(), body].concat(), then: Then::Keep }
}

impl Answer {
    fn and(self, then: Then) -> Self {
        Self { then, ..self }
    }

    /// Without its last bytes.
    fn cut(mut self, bytes: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - bytes);
        self.and(Then::Close)
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(body).unwrap();
    packer.finish().unwrap()
}

fn packed(coding: &str, body: &[u8]) -> Answer {
    answer(&[&format!("Content-Encoding: {coding}"), &format!("Content-Length: {}", body.len())], body)
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let chunks = body.chunks(700).map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    chunks.chain([b"0\r\n\r\n".to_vec()]).flatten().collect()
}

fn redirect(target: &str) -> Answer {
    said("HTTP/1.1 307 Temporary Redirect", &[&format!("Location: {target}"), "Content-Length: 0"], b"")
}

/// What comes of a page that is always spoilt in this way.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    /// It is no harm: the crawl is complete with all rows.
    Whole,
    /// The crawl says that it is not; where the page was spoilt once, the crawl is complete.
    Partial,
    /// The crawl says that it is not, and does not ask again: the server means what it says.
    Refused,
    /// Either, as long as it is true.
    True,
}

use Expected::{Partial, Refused, True, Whole};

type Spoil = fn(&Question) -> Answer;

const CHUNKED: &[&str] = &["Transfer-Encoding: chunked"];

const WAYS: &[(&str, Expected, Spoil)] = &[
    ("a body shorter than its length", Partial, |q| plain(q.body.as_bytes()).cut(40)),
    ("nothing of the body", Partial, |q| plain(q.body.as_bytes()).cut(q.body.len())),
    ("a body longer than its length", Whole, |q| {
        let mut answer = plain(q.body.as_bytes());
        answer.bytes.extend(b"\n\n<!-- served by 7 -->");
        answer.and(Then::Close)
    }),
    ("a length that cuts the body", Partial, |q| answer(&["Content-Length: 300"], q.body.as_bytes())),
    ("two lengths", True, |q| {
        answer(&["Content-Length: 300", &format!("Content-Length: {}", q.body.len())], q.body.as_bytes())
    }),
    ("a length that is no number", Partial, |q| answer(&["Content-Length: many"], q.body.as_bytes()).and(Then::Close)),
    ("a length and chunks", True, |q| {
        answer(&["Content-Length: 300", "Transfer-Encoding: chunked"], &chunked(q.body.as_bytes()))
    }),
    ("neither a length nor chunks", Whole, |q| answer(&["Connection: close"], q.body.as_bytes()).and(Then::Close)),
    ("HTTP/1.0", Whole, |q| said("HTTP/1.0 200 OK", &[], q.body.as_bytes()).and(Then::Close)),
    ("HTTP/1.0 that breaks off", Partial, |q| said("HTTP/1.0 200 OK", &[], q.body.as_bytes()).cut(40)),
    ("chunks", Whole, |q| answer(CHUNKED, &chunked(q.body.as_bytes()))),
    ("chunks that break off", Partial, |q| answer(CHUNKED, &chunked(q.body.as_bytes())).cut(40)),
    ("chunks without an end", Partial, |q| answer(CHUNKED, &chunked(q.body.as_bytes())).cut(5)),
    ("chunks longer than they say", Partial, |q| {
        answer(CHUNKED, &[b"64\r\n", q.body.as_bytes(), b"\r\n0\r\n\r\n"].concat())
    }),
    ("chunks without a size", Partial, |q| answer(CHUNKED, &[b"xyz\r\n", q.body.as_bytes()].concat()).and(Then::Close)),
    ("an endless size of a chunk", Partial, |q| {
        answer(CHUNKED, &[b"ffffffffffffffffff\r\n", q.body.as_bytes()].concat()).and(Then::Close)
    }),
    ("gzip", Whole, |q| packed("gzip", &gzip(q.body.as_bytes()))),
    ("gzip that nobody tells of", Whole, |q| plain(&gzip(q.body.as_bytes()))),
    ("gzip of gzip", Whole, |q| packed("gzip", &gzip(&gzip(q.body.as_bytes())))),
    ("gzip that is none", Partial, |q| packed("gzip", q.body.as_bytes())),
    ("gzip that breaks off", Partial, |q| {
        let whole = gzip(q.body.as_bytes());
        packed("gzip", &whole[..whole.len() - 30])
    }),
    ("gzip without its checksum", Partial, |q| {
        let whole = gzip(q.body.as_bytes());
        packed("gzip", &whole[..whole.len() - 8])
    }),
    ("gzip that grows without end", Refused, |_| packed("gzip", &gzip(&vec![b' '; 64 * LARGEST]))),
    ("gzip that grows without end and that nobody tells of", Refused, |_| plain(&gzip(&vec![b' '; 64 * LARGEST]))),
    ("zstd that is none", Partial, |q| packed("zstd", q.body.as_bytes())),
    ("an encoding that nobody asked for", True, |q| packed("br", q.body.as_bytes())),
    ("a body without end", Refused, |_| answer(&[], &vec![b' '; 4 * LARGEST]).and(Then::Close)),
    ("an empty body", Partial, |_| plain(b"")),
    ("a null", Partial, |_| plain(b"null")),
    ("zeros", Partial, |q| plain(&vec![0; q.body.len()])),
    ("no content", Partial, |_| said("HTTP/1.1 204 No Content", &[], b"")),
    ("part of the content", True, |q| {
        let length = format!("Content-Length: {}", q.body.len());
        said("HTTP/1.1 206 Partial Content", &[&length, "Content-Range: bytes 0-99/9999"], q.body.as_bytes())
    }),
    ("not modified", Refused, |_| said("HTTP/1.1 304 Not Modified", &["ETag: x"], b"")),
    ("a byte order mark", Whole, |q| plain(&[b"\xef\xbb\xbf", q.body.as_bytes()].concat())),
    ("UTF-16", True, |q| plain(&q.body.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())),
    ("a byte that is no UTF-8", True, |q| {
        plain(&q.body.replace("Office", "Of@ice").bytes().map(|b| if b == b'@' { 0xff } else { b }).collect::<Vec<_>>())
    }),
    ("early hints", Whole, |q| {
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n".to_vec();
        Answer { bytes: [hints, plain(q.body.as_bytes()).bytes].concat(), then: Then::Keep }
    }),
    ("a second answer behind the first", True, |q| {
        let empty = plain(br#"{"resourceType":"Bundle","type":"searchset","total":0}"#);
        Answer { bytes: [plain(q.body.as_bytes()).bytes, empty.bytes].concat(), then: Then::Keep }
    }),
    ("a closed connection that was to be kept", Whole, |q| plain(q.body.as_bytes()).and(Then::Close)),
    ("very long headers", Partial, |q| {
        answer(
            &[&format!("X-Trace: {}", "x".repeat(2 << 20)), &format!("Content-Length: {}", q.body.len())],
            q.body.as_bytes(),
        )
    }),
    ("a thousand headers", True, |q| {
        let lines: Vec<String> = (0..1000).map(|one| format!("X-Trace-{one}: x")).collect();
        let mut headers: Vec<&str> = lines.iter().map(String::as_str).collect();
        let length = format!("Content-Length: {}", q.body.len());
        headers.push(&length);
        answer(&headers, q.body.as_bytes())
    }),
    ("no HTTP", Partial, |_| Answer { bytes: b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), then: Then::Close }),
    ("another HTTP", Partial, |q| said("HTTP/9.9 200 OK", &[], q.body.as_bytes()).and(Then::Close)),
    ("a status beyond all", Refused, |_| said("HTTP/1.1 999 Blocked", &["Content-Length: 0"], b"")),
    ("half of a head", Partial, |_| Answer { bytes: b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec(), then: Then::Close }),
    ("a connection that is reset", Partial, |_| Answer { bytes: Vec::new(), then: Then::Reset }),
    ("a connection that is closed", Partial, |_| Answer { bytes: Vec::new(), then: Then::Close }),
    ("no answer", Partial, |_| Answer { bytes: Vec::new(), then: Then::Hang }),
    ("an answer that stops", Partial, |q| {
        let mut answer = plain(q.body.as_bytes());
        answer.bytes.truncate(400);
        answer.and(Then::Hang)
    }),
    ("an answer that trickles", Partial, |q| plain(q.body.as_bytes()).and(Then::Drip)),
    ("three redirects", Whole, |q| match q.hops {
        3 => plain(q.body.as_bytes()),
        hops => redirect(&format!("{}&hops={}", q.target, hops + 1)),
    }),
    ("a redirect to itself", Partial, |q| redirect(&q.target)),
    ("redirects without end", Partial, |q| redirect(&format!("{}&hops={}", q.target, q.hops + 1))),
    ("a redirect to another origin", Refused, |q| redirect(&format!("{}{}", q.foreign, q.target))),
    ("a redirect to another scheme", Refused, |q| redirect(&format!("ftp://127.0.0.1{}", q.target))),
    ("a redirect to a file", Refused, |_| redirect("file:///etc/hosts")),
    ("a redirect to nowhere", Refused, |_| said("HTTP/1.1 302 Found", &["Content-Length: 0"], b"")),
];

fn id_of(row: usize) -> String {
    format!("w-{row:03}")
}

fn number(query: &str, name: &str) -> Option<usize> {
    let mut values = query.split(['&', '?']).filter_map(|pair| pair.split_once('='));
    values.rfind(|(known, _)| *known == name)?.1.parse().ok()
}

/// Reads a question's head; `None` at the connection's end.
fn head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A server on a port of its own.
struct Server {
    origin: String,
    foreign: String,
    spoil: Spoil,
    /// Pages that are still to be spoilt.
    left: AtomicUsize,
}

impl Server {
    /// What is said to a question with this path and query.
    fn answer(&self, target: &str) -> Answer {
        let (from, count) = (number(target, "from").unwrap_or(0), number(target, "_count").unwrap_or(PAGE).min(PAGE));
        let rows = if target.contains("_summary=count") { 0..0 } else { from..(from + count).min(ROWS) };
        let entries: Vec<String> = rows
            .clone()
            .map(|row| {
                let id = id_of(row);
                format!(r#"{{"resource":{{"resourceType":"Location","id":"{id}","name":"Office {row}"}}}}"#)
            })
            .collect();
        let next = (!rows.is_empty() && rows.end < ROWS).then(|| {
            let url = format!("{}/fhir/Location?from={}&_count={count}", self.origin, rows.end);
            format!(r#"{{"relation":"next","url":"{url}"}}"#)
        });
        let body = format!(
            r#"{{"resourceType":"Bundle","type":"searchset","total":{ROWS},"link":[{}],"entry":[{}]}}"#,
            next.unwrap_or_default(),
            entries.join(",")
        );
        let spoils = rows.contains(&SPOILT)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if !spoils {
            return plain(body.as_bytes());
        }
        let hops = number(target, "hops").unwrap_or(0);
        (self.spoil)(&Question { body, target: target.to_owned(), foreign: self.foreign.clone(), hops })
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let head = head(&mut stream)?;
            let target = head.split(' ').nth(1)?.to_owned();
            let Answer { bytes, then } = self.answer(&target);
            match then {
                Then::Keep => stream.write_all(&bytes).ok()?,
                Then::Close => return stream.write_all(&bytes).ok(),
                Then::Hang => {
                    stream.write_all(&bytes).ok()?;
                    // Until the other end goes.
                    return stream.read_to_end(&mut Vec::new()).ok().map(|_| ());
                }
                Then::Drip => {
                    for byte in bytes.iter().cycle() {
                        stream.write_all(&[*byte]).ok()?;
                        #[allow(
                            clippy::disallowed_methods,
                            reason = "the server is slow by design; nothing waits for it"
                        )]
                        thread::sleep(Duration::from_millis(20));
                    }
                }
                Then::Reset => {
                    // Bytes that nobody has read make a reset of a close.
                    return None;
                }
            }
        }
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// Crawls a server that spoils so many of its answers.
async fn crawl(spoil: Spoil, times: usize) -> (ResourceOutcome, BTreeSet<String>, usize) {
    let strays = Arc::new(AtomicUsize::new(0));
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (listener, foreign) = (listen(), listen());
    let origin = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
    let (here, there) = (origin(&listener), origin(&foreign));
    let server = Arc::new(Server { origin: here.clone(), foreign: there, spoil, left: AtomicUsize::new(times) });
    // Both end with the test's process.
    let counted = Arc::clone(&strays);
    thread::spawn(move || foreign.incoming().for_each(|_| _ = counted.fetch_add(1, Ordering::Relaxed)));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = Arc::clone(&server);
            thread::spawn(move || server.serve(stream));
        }
    });
    let mut source = Source::new(Url::parse(&format!("{here}/fhir")).unwrap());
    source.credentials = Credentials::Bearer { token: SecretString::from("secret") };
    let limits = Limits {
        request_timeout: Duration::from_secs(3),
        max_page_bytes: LARGEST,
        max_retries: 2,
        ..Limits::default()
    };
    let (_keep, cancel) = watch::channel(false);
    let http = Http::new(source.clone(), &limits).unwrap();
    let fetcher = Retrying::new(http, limits, 0.0, now, Arc::new(Silent), cancel);
    let store = Arc::new(MemoryStore::default());
    let crawl = Crawl::new(fetcher, Arc::clone(&store), source, limits, 1, Arc::new(Silent));
    let plan = ResourcePlan { page_size: Some(10), ..ResourcePlan::new("Location") };
    let mut outcome = crawl.run(&[plan]).await.unwrap();
    let held = store.ids("Location", None, usize::MAX).await.unwrap().into_iter().collect();
    (outcome.resources.remove(0), held, strays.load(Ordering::Relaxed))
}

/// What is wrong with the crawl of a server that spoils so many of its answers.
async fn wrong(name: &str, expected: Expected, spoil: Spoil, times: usize) -> Option<String> {
    let Ok((outcome, held, strays)) = tokio::time::timeout(LONGEST, crawl(spoil, times)).await else {
        return Some(format!("{name}: hangs"));
    };
    let (status, ended_by) = (outcome.status, outcome.ended_by);
    let all: BTreeSet<String> = (0..ROWS).map(id_of).collect();
    let said = format!("{name}: {status} by {ended_by:?} with {} of {ROWS}", held.len());
    let sound = matches!(status, Status::Complete | Status::Empty);
    let fits = match expected {
        Whole => status == Status::Complete,
        Partial | Refused => !sound,
        True => true,
    };
    let is_true = !sound || held == all || outcome.coverage.is_some_and(|share| share < 1.0);
    (!fits || !is_true || !held.is_subset(&all) || strays > 0).then(|| format!("{said}, {strays} strays"))
}

async fn all(times: usize, expected: impl Fn(Expected) -> Expected) -> Vec<String> {
    let cases = WAYS.iter().map(|(name, always, spoil)| wrong(name, expected(*always), *spoil, times));
    join_all(cases).await.into_iter().flatten().collect()
}

#[tokio::test]
async fn what_happens_on_the_wire_once_is_no_harm() {
    let found = all(1, |always| if always == Partial { Whole } else { always }).await;
    assert!(found.is_empty(), "{} wrong:\n{}", found.len(), found.join("\n"));
}

#[tokio::test]
async fn what_happens_on_the_wire_always_is_told() {
    let found = all(usize::MAX, |always| always).await;
    assert!(found.is_empty(), "{} wrong:\n{}", found.len(), found.join("\n"));
}
