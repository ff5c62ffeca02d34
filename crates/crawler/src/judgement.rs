//! What an answer means: deliver it, try again after a while, come back much later, or take it as a refusal. A pure
//! function of the answer and the time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use fhirvest_fhir::bundle::{Page, PageKind, ScanError};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::transport::TransportError;

/// What to do with an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is a page.
    Deliver,
    /// Ask again: after the wait that the server names, else after one of our own.
    Retry {
        /// What the server asks for.
        after: Option<Duration>,
        /// Why, for the log.
        reason: String,
    },
    /// Asking again is no use.
    Refuse(Refusal),
    /// The crawl has to stop here, and can go on from here later.
    Stop,
}

/// Why asking again is no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind.
    pub kind: RefusalKind,
    /// What the server said, in short.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// 401: the credentials are missing or wrong.
    Unauthorized,
    /// 403: not allowed.
    Forbidden,
    /// 404, 405 or 501: no such type; in mid-crawl: no such page any more.
    NotFound,
    /// 410, or 404 on a cursor: the page is gone.
    Gone,
    /// 400, 422, or 200 with an OperationOutcome: this search, perhaps another.
    Search,
    /// 413, or an answer beyond the limit on its size: smaller pages, or a smaller share.
    TooLarge,
    /// Not FHIR.
    NotFhir,
    /// Another status.
    Other,
}

/// Judges an answer. `page` is the scanned body.
#[must_use]
pub fn judge(status: u16, headers: &HeaderMap, page: &Result<Page, ScanError>, now: DateTime<Utc>) -> Verdict {
    let after = || wait_asked_for(headers, now);
    let retry = |reason: String| Verdict::Retry { after: after(), reason };
    let told = outcome(page).unwrap_or_default();
    let refuse = |kind, what: &str| {
        let message = if told.is_empty() { what.to_owned() } else { format!("{what}: {told}") };
        Verdict::Refuse(Refusal { kind, message })
    };
    match status {
        204 => refuse(RefusalKind::NotFhir, "204 No Content"),
        // Not ready yet, whatever the body says.
        202 => retry("202 Accepted".into()),
        200..=299 => match page {
            // Some say in a Bundle what others say without one.
            Ok(page) if is_only_error(page) => refuse(RefusalKind::Search, "the answer holds nothing but an error"),
            Ok(page) if page.kind != PageKind::Outcome => Verdict::Deliver,
            Ok(_) => refuse(RefusalKind::Search, "the answer is an OperationOutcome"),
            Err(error @ ScanError::Truncated { .. }) => retry(error.to_string()),
            Err(error @ ScanError::NotFhir { .. }) => refuse(RefusalKind::NotFhir, &error.to_string()),
        },
        401 => refuse(RefusalKind::Unauthorized, "401 Unauthorized"),
        // A quota told as 403 names a time.
        403 if is_quota(headers) && after().is_some() => retry("403 with a time to come back".into()),
        403 => refuse(RefusalKind::Forbidden, "403 Forbidden"),
        404 | 405 | 501 => refuse(RefusalKind::NotFound, &format!("HTTP {status}")),
        410 => refuse(RefusalKind::Gone, "410 Gone"),
        400 | 406 | 414 | 422 => refuse(RefusalKind::Search, &format!("HTTP {status}")),
        413 => refuse(RefusalKind::TooLarge, "HTTP 413"),
        408 | 423 | 425 | 429 | 500..=599 => retry(format!("HTTP {status}")),
        _ => refuse(RefusalKind::Other, &format!("HTTP {status}")),
    }
}

/// Judges an attempt that got no answer.
#[must_use]
pub fn judge_failure(error: &TransportError) -> Verdict {
    match error {
        TransportError::Connect(_) | TransportError::Timeout { .. } | TransportError::Broken(_) => {
            Verdict::Retry { after: None, reason: error.to_string() }
        }
        // The next attempt has a new token: there is nothing to wait for.
        TransportError::TokenRejected => Verdict::Retry { after: Some(Duration::ZERO), reason: error.to_string() },
        TransportError::Token { status: 429 | 500..=599, .. } => {
            Verdict::Retry { after: None, reason: error.to_string() }
        }
        TransportError::SignedOut => Verdict::Stop,
        TransportError::Token { .. } => {
            Verdict::Refuse(Refusal { kind: RefusalKind::Unauthorized, message: error.to_string() })
        }
        TransportError::TooLarge { .. } => {
            Verdict::Refuse(Refusal { kind: RefusalKind::TooLarge, message: error.to_string() })
        }
        TransportError::Redirect { .. } => {
            Verdict::Refuse(Refusal { kind: RefusalKind::Other, message: error.to_string() })
        }
    }
}

/// Whether a Bundle ends a search with an error in place of matches.
fn is_only_error(page: &Page) -> bool {
    page.kind == PageKind::Bundle
        && page.entries.is_empty()
        && page.link("next").is_none()
        && page.outcomes.iter().any(fhirvest_fhir::outcome::Outcome::is_error)
}

fn outcome(page: &Result<Page, ScanError>) -> Option<String> {
    let page = page.as_ref().ok()?;
    let told: Vec<String> = page.outcomes.iter().map(fhirvest_fhir::outcome::Outcome::summary).collect();
    Some(told.join("; ")).filter(|text| !text.is_empty())
}

/// Seconds since the epoch begin here; a smaller number in a reset header is a wait.
const EPOCH_BEGINS: u64 = 1_000_000_000;

/// Milliseconds since the epoch begin here.
const MILLISECONDS_BEGIN: u64 = 100_000_000_000;

/// Whether a 403 may be a quota that is used up: some servers tell the state of the quota with every answer, so that a
/// time alone says nothing while there is something left.
fn is_quota(headers: &HeaderMap) -> bool {
    let left =
        ["ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining"].into_iter().find_map(|name| {
            let text = headers.get(name)?.to_str().ok()?;
            text.trim().parse::<u64>().ok()
        });
    headers.contains_key(RETRY_AFTER) || left.is_none_or(|left| left == 0)
}

/// An HTTP date (RFC 9110, section 5.6.7).
fn date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text).ok().map(|date| date.with_timezone(&Utc))
}

/// The server's own time, to the second, where an answer tells it.
#[must_use]
pub fn server_time(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(|text| date(text.trim()))
}

/// The wait that an answer asks for: `Retry-After` as seconds or as an HTTP date, `RateLimit-Reset` in seconds,
/// `X-RateLimit-Reset` as seconds or as a time. A date is taken by the server's own clock, where it tells it.
#[must_use]
pub fn wait_asked_for(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let now = server_time(headers).unwrap_or(now);
    let until = |time: DateTime<Utc>| (time - now).to_std().unwrap_or_default();
    if let Some(after) = text(RETRY_AFTER.as_str()) {
        // Fractions of a second occur.
        if let Ok(seconds) = after.parse::<f64>() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        return date(after).map(until);
    }
    let reset = ["ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset"].into_iter().find_map(text)?;
    match reset.parse::<u64>() {
        Ok(epoch) if epoch >= EPOCH_BEGINS => {
            let seconds = if epoch >= MILLISECONDS_BEGIN { epoch.div_ceil(1_000) } else { epoch };
            let seconds = i64::try_from(seconds).ok()?;
            DateTime::from_timestamp(seconds, 0).map(until)
        }
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => date(reset).map(until),
    }
}

#[cfg(test)]
mod tests {
    use fhirvest_fhir::bundle::scan;
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-11-23T02:00:00Z").unwrap().with_timezone(&Utc)
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn every_way_to_say_when_is_understood() {
        for (pairs, seconds) in [
            (vec![("retry-after", "120")], Some(120)),
            (vec![("retry-after", "Mon, 23 Nov 2026 02:01:30 GMT")], Some(90)),
            (
                vec![("retry-after", "Mon, 23 Nov 2026 02:01:30 GMT"), ("date", "Mon, 23 Nov 2026 02:01:00 GMT")],
                Some(30),
            ),
            (vec![("retry-after", "Mon, 23 Nov 2020 02:01:30 GMT")], Some(0)),
            (vec![("ratelimit-reset", "7")], Some(7)),
            (vec![("x-ratelimit-reset", "1795399260")], Some(60)),
            (vec![("x-ratelimit-reset", "1795399260000")], Some(60)),
            (vec![("x-ratelimit-reset", "45")], Some(45)),
            (vec![("retry-after", "soon")], None),
            (vec![], None),
        ] {
            let wait = wait_asked_for(&headers(&pairs), now()).map(|wait| wait.as_secs());
            assert_eq!(wait, seconds, "{pairs:?}");
        }
    }

    #[test]
    fn answers_are_judged() {
        let bundle = r#"{"resourceType":"Bundle"}"#;
        let outcome = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"too-costly"}]}"#;
        let in_a_bundle = format!(r#"{{"resourceType":"Bundle","entry":[{{"resource":{outcome}}}]}}"#);
        let kind = |status, pairs: &[(&'static str, &'static str)], body: &str| match judge(
            status,
            &headers(pairs),
            &scan(body.as_bytes()),
            now(),
        ) {
            Verdict::Deliver => "deliver".to_owned(),
            Verdict::Retry { after, .. } => format!("retry {:?}", after.map(|wait| wait.as_secs())),
            Verdict::Refuse(refusal) => format!("{:?}", refusal.kind),
            Verdict::Stop => "stop".to_owned(),
        };
        for (status, pairs, body, verdict) in [
            (200, vec![], bundle, "deliver"),
            (200, vec![], outcome, "Search"),
            (200, vec![], "<html>", "NotFhir"),
            (200, vec![], "", "retry None"),
            (200, vec![], &in_a_bundle, "Search"),
            (204, vec![], "", "NotFhir"),
            (202, vec![("retry-after", "2")], bundle, "retry Some(2)"),
            (200, vec![], &bundle[..9], "retry None"),
            (401, vec![], "<html>", "Unauthorized"),
            (403, vec![], outcome, "Forbidden"),
            (403, vec![("retry-after", "9")], "", "retry Some(9)"),
            (403, vec![("x-ratelimit-reset", "9"), ("x-ratelimit-remaining", "0")], "", "retry Some(9)"),
            (403, vec![("x-ratelimit-reset", "9"), ("x-ratelimit-remaining", "41")], "", "Forbidden"),
            (404, vec![], "", "NotFound"),
            (410, vec![], "", "Gone"),
            (413, vec![], outcome, "TooLarge"),
            (429, vec![], "", "retry None"),
            (503, vec![("retry-after", "3")], "", "retry Some(3)"),
            (501, vec![], "", "NotFound"),
            (504, vec![], "", "retry None"),
            (302, vec![], "", "Other"),
        ] {
            assert_eq!(kind(status, &pairs, body), verdict, "{status} {pairs:?} {body}");
        }
    }
}
