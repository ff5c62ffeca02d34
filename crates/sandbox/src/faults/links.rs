//! Faults in the shape of a next link, and the cursors that die.

use axum::http::StatusCode;

use super::{Behaviour, Fault};
use crate::search::cursor::Cursor;
use crate::search::query::Query;
use crate::server::answer::Answer;

const INTERNAL_HOST: &str = "fhir-internal.invalid:8080";

/// The other name of the loopback interface under the same port: another origin that reaches the same sandbox.
pub(crate) fn other_host(host: &str) -> Option<String> {
    let (name, port) = host.rsplit_once(':')?;
    match name {
        "127.0.0.1" => Some(format!("localhost:{port}")),
        "localhost" => Some(format!("127.0.0.1:{port}")),
        _ => None,
    }
}

/// Where a link stands: what is needed to bend it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    /// Absolute URL of the mount.
    pub(crate) base: &'a str,
    pub(crate) host: &'a str,
    /// Path of the mount.
    pub(crate) mount: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) offset: usize,
}

/// A correct absolute next link as this server writes it.
pub(crate) fn bend(behaviour: &Behaviour, site: Site<'_>, link: String) -> String {
    let rest = link.strip_prefix(site.base).unwrap_or("").to_owned();
    let origin = site.base.strip_suffix(site.mount).unwrap_or(site.base);
    let Some(fault) = behaviour.first(SHAPES) else { return link };
    match fault {
        Fault::RelativeNext => match rest.strip_prefix('/') {
            Some(from_type) => from_type.to_owned(),
            None => format!("{}{rest}", site.kind),
        },
        Fault::RootRelativeNext => match rest.strip_prefix('/') {
            Some(from_type) => format!("/{from_type}"),
            None => format!("/{}{rest}", site.kind),
        },
        Fault::NextOutsideBase => format!("{origin}/fhirwrapper{}{rest}", site.mount),
        Fault::NextWithoutType => format!("{}?_offset={}{}", site.base, site.offset, count_of(&rest)),
        Fault::NextMalformed => format!("&search-offset={}", site.offset),
        Fault::NextUnescaped => format!("{link}&_pretty=false | not escaped"),
        Fault::NextOtherHost => {
            other_host(site.host).map_or(link, |other| format!("http://{other}{}{rest}", site.mount))
        }
        Fault::NextInternalHost => format!("http://{INTERNAL_HOST}{}{rest}", site.mount),
        Fault::NextHttpScheme => format!("http://{}{}{rest}", site.host, site.mount),
        Fault::NextPortDoubled => {
            let port = site.host.rsplit_once(':').map_or("443", |(_, port)| port);
            format!("{origin}:{port}{}{rest}", site.mount)
        }
        _ => link,
    }
}

const SHAPES: &[Fault] = &[
    Fault::RelativeNext,
    Fault::RootRelativeNext,
    Fault::NextOutsideBase,
    Fault::NextWithoutType,
    Fault::NextMalformed,
    Fault::NextUnescaped,
    Fault::NextOtherHost,
    Fault::NextInternalHost,
    Fault::NextHttpScheme,
    Fault::NextPortDoubled,
];

fn count_of(rest: &str) -> String {
    let count = rest.split(['?', '&']).find(|parameter| parameter.starts_with("_count="));
    count.map(|count| format!("&{count}")).unwrap_or_default()
}

/// Whether this page of a search is gone, as a search is whose results the server has thrown away.
pub(crate) fn expired(behaviour: &Behaviour, scope: &str, query: &Query, count: usize) -> Option<Answer> {
    let page = query.offset.checked_div(count).unwrap_or(0);
    let gone = |status| Answer::outcome(status, "processing", "this search does not exist and may have expired");
    if page >= 3 && behaviour.has(Fault::CursorAlwaysExpires) {
        return Some(gone(StatusCode::NOT_FOUND));
    }
    if page < 1 || !behaviour.has(Fault::CursorExpires) {
        return None;
    }
    // The third page kills the search's first life; whatever was handed out in that life is dead from then on.
    let what = format!("expired {scope}?{}", query.encoded());
    let first_life = generation(query) == 0;
    let dead = behaviour.memory.counted(&what) > 0;
    if !dead && first_life && page >= 2 {
        behaviour.memory.count(&what);
        return Some(gone(StatusCode::GONE));
    }
    (dead && first_life).then(|| gone(StatusCode::GONE))
}

/// The life of a search that a link belongs to.
fn generation(query: &Query) -> u64 {
    query.generation
}

/// The life that links handed out now belong to, if that matters.
pub(crate) fn current_generation(behaviour: &Behaviour, scope: &str, query: &Query) -> Option<u64> {
    behaviour.has(Fault::CursorExpires).then(|| {
        if query.offset > 0 {
            return query.generation;
        }
        behaviour.memory.counted(&format!("expired {scope}?{}", query.encoded()))
    })
}

/// A token of a platform whose next links repeat the search and carry its place in an opaque parameter.
pub(crate) fn place_token(kind: &str, offset: usize, seal: u64) -> String {
    Cursor { resource: kind.to_owned(), query: offset.to_string() }.token(seal)
}

/// The place that such a token stands for.
pub(crate) fn place(token: &str, kind: &str, seal: u64) -> Option<usize> {
    let cursor = Cursor::parse(token, seal)?;
    (cursor.resource == kind).then(|| cursor.query.parse().ok())?
}
