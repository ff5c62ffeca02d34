//! Faults in the bytes that leave: what a page is wrapped in, and how it breaks.

use std::io::Write as _;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_ENCODING;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::gate::{HTML, login_page, spoils_body};
use super::question::LARGE_PAGE;
use super::{Behaviour, Fault};
use crate::server::answer::{Answer, Payload, Step, gzip};

const HUGE: usize = 24 << 20;
const BOMB: usize = 256 << 20;
const DROP: usize = 16;
const DROP_EVERY: Duration = Duration::from_secs(1);

/// A good answer as this server sends it. `entries` is how many a page has.
pub(crate) fn send(behaviour: &Behaviour, answer: Answer, request: u64, entries: usize, accepts_gzip: bool) -> Answer {
    let answer = label(behaviour, answer);
    let Payload::Whole(bytes) = &answer.body else { return answer };
    if answer.status != StatusCode::OK {
        return answer;
    }
    if spoils_body(request)
        && let Some(spoilt) = spoil(behaviour, bytes)
    {
        return spoilt;
    }
    let bytes = bytes.clone();
    wrap(behaviour, answer, &bytes, entries, accepts_gzip)
}

fn label(behaviour: &Behaviour, mut answer: Answer) -> Answer {
    if behaviour.has(Fault::WrongContentType) {
        answer.content_type = "text/plain; charset=utf-8";
    }
    answer
}

fn spoil(behaviour: &Behaviour, bytes: &Bytes) -> Option<Answer> {
    let fault = behaviour.first(&[
        Fault::ResetMidBody,
        Fault::TruncatedJson,
        Fault::ShortBody,
        Fault::Trickle,
        Fault::Html200,
        Fault::NotABundle,
    ])?;
    let half = bytes.slice(..bytes.len() / 2);
    let script = |declared, steps| {
        let mut answer = Answer::fhir("");
        answer.body = Payload::Script { declared, steps };
        answer
    };
    Some(match fault {
        Fault::ResetMidBody => script(None, vec![Step::Send(half), Step::Abort]),
        Fault::TruncatedJson => Answer::fhir(half),
        Fault::ShortBody => script(Some(bytes.len()), vec![Step::Send(half)]),
        Fault::Trickle => {
            let drops = (0..bytes.len()).step_by(DROP).flat_map(|from| {
                let to = (from + DROP).min(bytes.len());
                [Step::Send(bytes.slice(from..to)), Step::Wait(DROP_EVERY)]
            });
            script(Some(bytes.len()), drops.collect())
        }
        Fault::Html200 => Answer::new(StatusCode::OK, HTML, login_page()),
        _ => Answer::new(StatusCode::OK, "application/json", r#"{"status":"ok","data":[]}"#),
    })
}

fn wrap(behaviour: &Behaviour, mut answer: Answer, bytes: &Bytes, entries: usize, accepts_gzip: bool) -> Answer {
    if entries > LARGE_PAGE && behaviour.has(Fault::HugePage) {
        let mut padded = bytes.to_vec();
        padded.resize(HUGE.max(bytes.len()), b' ');
        answer.body = Payload::Whole(padded.into());
    } else if entries > LARGE_PAGE && accepts_gzip && behaviour.has(Fault::GzipBomb) {
        answer.body = Payload::Whole(bomb(bytes).into());
        answer = answer.with(CONTENT_ENCODING, "gzip");
    } else if behaviour.has(Fault::Bom) {
        let mut marked = b"\xef\xbb\xbf".to_vec();
        marked.extend_from_slice(bytes);
        answer.body = Payload::Whole(marked.into());
    } else if behaviour.has(Fault::GzipUnannounced) {
        let packed = Bytes::from(gzip(bytes));
        // Scripted, so that it goes out as it is even where answers are compressed.
        answer.body = Payload::Script { declared: Some(packed.len()), steps: vec![Step::Send(packed)] };
    }
    answer
}

/// Gzip of a page and 256 MiB of white space behind it.
fn bomb(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory does not fail.
    let _ = encoder.write_all(bytes);
    let block = vec![b' '; 1 << 20];
    for _ in 0..BOMB / block.len() {
        let _ = encoder.write_all(&block);
    }
    encoder.finish().unwrap_or_default()
}
