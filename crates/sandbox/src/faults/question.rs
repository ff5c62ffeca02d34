//! Faults in what a server lets itself be asked, and in what it makes of the question.

use std::time::Duration;

use axum::http::StatusCode;

use super::{Behaviour, Fault};
use crate::search::filter::Filter;
use crate::search::query::{Order, Query};
use crate::server::answer::Answer;
use crate::world::Mount;

const CEILING: usize = 100;
/// Pages larger than this are too much for `5xx-large-pages` and its like.
pub(crate) const LARGE_PAGE: usize = 25;
const SLOW_COUNT: Duration = Duration::from_secs(60);

/// The refusal of a resource type, before its search is read.
pub(crate) fn refuse_type(behaviour: &Behaviour, mount: &Mount, kind: &str) -> Option<Answer> {
    let fault = behaviour.first(&[Fault::Type404, Fault::Type501, Fault::Forbidden403Type])?;
    let (first, _) = mount.types().next()?;
    (first == kind).then(|| match fault {
        Fault::Type404 => Answer::outcome(StatusCode::NOT_FOUND, "not-supported", "unknown resource type"),
        Fault::Type501 => Answer::outcome(StatusCode::NOT_IMPLEMENTED, "not-supported", "not implemented"),
        _ => Answer::outcome(StatusCode::FORBIDDEN, "forbidden", "not in your contract"),
    })
}

/// The refusal of a search, when this server does not take it.
pub(crate) fn refuse(behaviour: &Behaviour, query: &Query) -> Option<Answer> {
    if query.count_only && behaviour.has(Fault::CountUnsupported) {
        return Some(Answer::outcome(StatusCode::BAD_REQUEST, "not-supported", "_summary is not supported"));
    }
    if query.offset > 0 && behaviour.has(Fault::PageTwoDead) {
        return Some(Answer::outcome(StatusCode::INTERNAL_SERVER_ERROR, "exception", "null pointer"));
    }
    if behaviour.profile.max_skip.is_some_and(|most| query.offset > most) {
        let most = behaviour.profile.max_skip.unwrap_or_default();
        let message = format!("the offset may not exceed {most}");
        return Some(Answer::outcome(StatusCode::BAD_REQUEST, "invalid", &message));
    }
    unfiltered(behaviour, query).or_else(|| ceiling(behaviour, query))
}

fn unfiltered(behaviour: &Behaviour, query: &Query) -> Option<Answer> {
    let by_date = query.filters.iter().all(|filter| matches!(filter, Filter::Updated(_)));
    if by_date && behaviour.has(Fault::UnfilteredEvenByDate) {
        return Some(Answer::outcome(StatusCode::BAD_REQUEST, "required", "at least one search parameter is needed"));
    }
    if !query.filters.is_empty() {
        return None;
    }
    let fault = behaviour.first(&[Fault::Unfiltered400, Fault::Unfiltered413, Fault::UnfilteredOutcome200])?;
    Some(match fault {
        Fault::Unfiltered400 => {
            Answer::outcome(StatusCode::BAD_REQUEST, "required", "at least one search parameter is needed")
        }
        Fault::Unfiltered413 => too_costly(),
        _ => Answer::outcome(StatusCode::OK, "too-costly", "at least one search parameter is needed"),
    })
}

fn too_costly() -> Answer {
    Answer::outcome(StatusCode::PAYLOAD_TOO_LARGE, "too-costly", "the search is too costly: narrow it")
}

/// The refusal of a search that found too much for this server.
pub(crate) fn refuse_matches(behaviour: &Behaviour, query: &Query, found: usize) -> Option<Answer> {
    let limit = behaviour.profile.too_costly?;
    (found > limit && !query.count_only).then(too_costly)
}

fn ceiling(behaviour: &Behaviour, query: &Query) -> Option<Answer> {
    let asked = query.count.unwrap_or(0);
    if asked > LARGE_PAGE && behaviour.has(Fault::ServerErrorsLargePages) {
        return Some(Answer::outcome(StatusCode::GATEWAY_TIMEOUT, "timeout", "upstream timed out"));
    }
    if asked <= CEILING {
        return None;
    }
    let fault = behaviour.first(&[
        Fault::CountCeiling100Empty,
        Fault::CountCeiling100Outcome,
        Fault::CountCeiling100Outcome200,
    ])?;
    let message = "the maximum allowed is 100";
    Some(match fault {
        Fault::CountCeiling100Empty => Answer::fhir(r#"{"resourceType":"Bundle","type":"searchset","total":0}"#),
        Fault::CountCeiling100Outcome => Answer::outcome(StatusCode::BAD_REQUEST, "too-costly", message),
        _ => Answer::outcome(StatusCode::OK, "too-costly", message),
    })
}

/// How long this server thinks before it answers.
pub(crate) fn delay(behaviour: &Behaviour, query: &Query) -> Option<Duration> {
    (query.count_only && behaviour.has(Fault::CountSlow)).then_some(SLOW_COUNT)
}

/// Makes of the question what this server makes of it.
pub(crate) fn bend(behaviour: &Behaviour, query: &mut Query) {
    if behaviour.has(Fault::IgnoresFilters) {
        query.filters.clear();
    }
    if behaviour.has(Fault::IgnoresLastUpdated) {
        query.filters.retain(|filter| !matches!(filter, Filter::Updated(_)));
    }
    if behaviour.has(Fault::IgnoresSort) {
        query.order = Order::Stored;
    }
    if behaviour.has(Fault::CountCeiling100Fewer) {
        query.count = query.count.map(|count| count.min(CEILING));
    }
    if behaviour.has(Fault::CountIgnored) {
        query.count = Some(10);
    }
}

/// Whether no date finds anything here.
pub(crate) fn finds_nothing(behaviour: &Behaviour, query: &Query) -> bool {
    behaviour.has(Fault::NoLastUpdated) && query.filters.iter().any(|filter| matches!(filter, Filter::Updated(_)))
}
