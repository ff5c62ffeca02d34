//! A search request from its parameters to a Bundle page.

use axum::http::StatusCode;

use super::App;
use super::answer::Answer;
use super::call::Call;
use super::route::seal;
use crate::bundle::{self, Entry, Mode};
use crate::faults::Fault;
use crate::search::cursor::Cursor;
use crate::search::include;
use crate::search::query::{self, Query, Total};
use crate::world::Mount;

/// Answers a search of one type.
pub(crate) fn answer(
    app: &App,
    call: &Call,
    mount: &Mount,
    base: &str,
    kind: &str,
    parameters: &[(String, String)],
) -> Answer {
    let Some(number) = mount.table_number(kind) else { return unknown_type(kind) };
    let Some(table) = mount.tables().get(number) else { return unknown_type(kind) };
    let query = match Query::parse(kind, base, parameters) {
        Ok(query) => query,
        Err(bad) => return Answer::outcome(StatusCode::BAD_REQUEST, "invalid", &bad.0),
    };
    if let Some(unknown) = query.unknown.first().filter(|_| call.strict()) {
        let known: Vec<&str> = query::known_names(kind).collect();
        let message =
            format!("unknown search parameter {unknown} for {kind}; known: _id, _lastUpdated, {}", known.join(", "));
        return Answer::outcome(StatusCode::BAD_REQUEST, "not-supported", &message);
    }
    let matches = app.cache.find(mount.path(), table, &query);
    let count = query.count.unwrap_or(app.behaviour.default_count).min(app.behaviour.max_count);
    let rows = if query.count_only { Vec::new() } else { matches.page(query.offset, count) };
    let page = Page {
        base,
        kind,
        query: &query,
        count,
        seal: seal(app, mount),
        broken_off: app.behaviour.has(Fault::NoNext),
        len: matches.len(),
        shown: rows.len(),
    };
    let entry = |mode: Mode| {
        move |(number, row): (usize, u32)| {
            mount.tables().get(number).map(|table| Entry {
                kind: table.name(),
                id: table.id(row),
                text: table.text(row),
                mode,
            })
        }
    };
    let matched = rows.iter().map(|&row| (number, row)).filter_map(entry(Mode::Match));
    let added = include::included(mount, number, &rows, &query.includes);
    let entries: Vec<Entry<'_>> = matched.chain(added.into_iter().filter_map(entry(Mode::Include))).collect();
    Answer::fhir(bundle::searchset(base, &page.head(), &entries))
}

pub(crate) fn unknown_type(kind: &str) -> Answer {
    let message = format!("resource type {kind} is not served here; GET metadata lists the types that are");
    Answer::outcome(StatusCode::NOT_FOUND, "not-supported", &message)
}

/// Where a page stands within its search.
struct Page<'a> {
    base: &'a str,
    kind: &'a str,
    query: &'a Query,
    count: usize,
    seal: u64,
    broken_off: bool,
    len: usize,
    shown: usize,
}

impl Page<'_> {
    fn head(&self) -> bundle::Head {
        let total = (self.query.total == Total::Accurate || self.query.count_only).then_some(self.len);
        let mut links = vec![("self", self.own_link())];
        let end = self.query.offset.saturating_add(self.shown);
        if self.shown > 0 && end < self.len && !self.broken_off {
            links.push(("next", self.page_link(end)));
        }
        if self.query.offset > 0 && !self.query.count_only {
            links.push(("previous", self.page_link(self.query.offset.saturating_sub(self.count))));
        }
        bundle::Head { total, links }
    }

    /// The search as it was understood.
    fn own_link(&self) -> String {
        let mut query = self.query.encoded();
        if !query.is_empty() {
            query.push('&');
        }
        format!("{}/{}?{query}_count={}", self.base, self.kind, self.count)
    }

    fn page_link(&self, offset: usize) -> String {
        let cursor = Cursor { resource: self.kind.to_owned(), query: self.query.encoded() };
        let token = cursor.token(self.seal);
        format!("{}?_getpages={token}&_getpagesoffset={offset}&_count={}&_bundletype=searchset", self.base, self.count)
    }
}
