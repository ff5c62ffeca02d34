//! Faults that strike before a request is looked at: throttling, outages, lost sessions, redirects.

use std::time::Duration;

use axum::http::header::{LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, StatusCode};
use chrono::DateTime;

use super::{Behaviour, Fault, links};
use crate::server::answer::Answer;
use crate::server::call::Call;

/// What happens now and then happens once in so many requests; the request after it passes.
pub(crate) const BEAT: u64 = 7;
/// What happens in mid-crawl happens from this request on.
const MIDWAY: u64 = 3;
/// Requests a second that `host-limit` lets pass.
const HOST_LIMIT: usize = 5;
/// Longer than any client waits.
const FOREVER: Duration = Duration::from_secs(3_600);

/// The beats of the intermittent faults: no two neighbours, so that a retry always passes.
mod beats {
    pub(super) const THROTTLE: u64 = 1;
    pub(super) const OUTAGE: u64 = 3;
    pub(super) const BODY: u64 = 5;
}

/// Whether the body of this request's answer is to be spoilt.
pub(crate) fn spoils_body(request: u64) -> bool {
    request % BEAT == beats::BODY
}

/// The answer of a server in trouble, if it is in trouble at this request.
pub(crate) fn strike(behaviour: &Behaviour, call: &Call, request: u64) -> Option<Answer> {
    if request >= MIDWAY
        && let Some(answer) = midway(behaviour)
    {
        return Some(answer);
    }
    if behaviour.has(Fault::HostLimit) && behaviour.memory.exceeds(HOST_LIMIT) {
        return Some(throttled("more than 5 requests a second").with(RETRY_AFTER, "1"));
    }
    match request % BEAT {
        beats::THROTTLE => throttle(behaviour),
        beats::OUTAGE => outage(behaviour, call, request),
        _ => None,
    }
}

fn midway(behaviour: &Behaviour) -> Option<Answer> {
    let fault = behaviour.first(&[
        Fault::Unauthorized401Midway,
        Fault::Forbidden403Midway,
        Fault::TooMany429Long,
        Fault::ServerErrorsAlways,
        Fault::Login200,
        Fault::Html401,
    ])?;
    Some(match fault {
        Fault::Unauthorized401Midway => {
            Answer::outcome(StatusCode::UNAUTHORIZED, "login", "access was withdrawn").with(WWW_AUTHENTICATE, "Bearer")
        }
        Fault::Forbidden403Midway => Answer::outcome(StatusCode::FORBIDDEN, "forbidden", "access was withdrawn"),
        Fault::TooMany429Long => throttled("daily quota used up").with(RETRY_AFTER, "7200"),
        Fault::ServerErrorsAlways => Answer::outcome(StatusCode::INTERNAL_SERVER_ERROR, "exception", "out of order"),
        Fault::Login200 => Answer::new(StatusCode::OK, HTML, login_page()),
        _ => Answer::new(StatusCode::UNAUTHORIZED, HTML, login_page()),
    })
}

pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// What a gateway shows to someone without a session.
pub(crate) fn login_page() -> &'static str {
    "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><form>Please sign in</form></body></html>\n"
}

fn throttled(message: &str) -> Answer {
    Answer::outcome(StatusCode::TOO_MANY_REQUESTS, "throttled", message)
}

fn throttle(behaviour: &Behaviour) -> Option<Answer> {
    let fault = behaviour.first(&[
        Fault::TooMany429Seconds,
        Fault::TooMany429Date,
        Fault::TooMany429ResetEpoch,
        Fault::TooMany429ResetDelta,
        Fault::TooMany429Bare,
        Fault::Quota403,
        Fault::Unavailable503RetryAfter,
    ])?;
    let later = || i64::try_from(behaviour.now().as_secs()).unwrap_or(0) + 2;
    let slow_down = throttled("too many requests");
    Some(match fault {
        Fault::TooMany429Seconds => slow_down.with(RETRY_AFTER, "1"),
        Fault::TooMany429Date => {
            let at = DateTime::from_timestamp(later(), 0).unwrap_or_default();
            slow_down.with(RETRY_AFTER, at.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
        }
        Fault::TooMany429ResetEpoch => {
            slow_down.with(HeaderName::from_static("x-ratelimit-reset"), later().to_string())
        }
        Fault::TooMany429ResetDelta => slow_down
            .with(HeaderName::from_static("ratelimit-reset"), "1")
            .with(HeaderName::from_static("ratelimit-remaining"), "0"),
        Fault::Quota403 => Answer::outcome(StatusCode::FORBIDDEN, "throttled", "quota exceeded, try again in 1 second")
            .with(RETRY_AFTER, "1"),
        Fault::Unavailable503RetryAfter => {
            Answer::outcome(StatusCode::SERVICE_UNAVAILABLE, "transient", "under maintenance").with(RETRY_AFTER, "1")
        }
        _ => slow_down,
    })
}

fn outage(behaviour: &Behaviour, call: &Call, request: u64) -> Option<Answer> {
    let fault = behaviour.first(&[Fault::ServerErrorsSome, Fault::Hang, Fault::RedirectSameHost])?;
    Some(match fault {
        Fault::ServerErrorsSome => {
            let status = match request / BEAT % 5 {
                0 => StatusCode::INTERNAL_SERVER_ERROR,
                1 => StatusCode::BAD_GATEWAY,
                2 => StatusCode::SERVICE_UNAVAILABLE,
                3 => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::LOCKED,
            };
            Answer::outcome(status, "transient", "try again")
        }
        Fault::RedirectSameHost => {
            let target = format!("{}://{}{}", call.scheme, call.host, call.target);
            Answer::new(StatusCode::TEMPORARY_REDIRECT, HTML, "moved").with(LOCATION, target)
        }
        _ => silence(),
    })
}

/// An answer of which no byte ever comes.
pub(crate) fn silence() -> Answer {
    Answer::fhir("").after(FOREVER)
}

/// What a redirected request carries, so that it is not redirected again.
const REDIRECTED: &str = "&_redirected=1";

/// The redirect of a next page to another origin.
pub(crate) fn redirect_away(behaviour: &Behaviour, call: &Call) -> Option<Answer> {
    if !behaviour.has(Fault::RedirectOtherHost) || !call.is_next_page() || call.target.ends_with(REDIRECTED) {
        return None;
    }
    let target = format!("{}://{}{}{REDIRECTED}", call.scheme, links::other_host(&call.host)?, call.target);
    Some(Answer::new(StatusCode::FOUND, HTML, "moved").with(LOCATION, target))
}
