//! A search request from its parameters to a Bundle page.

use std::borrow::Cow;

use axum::http::StatusCode;

use super::App;
use super::answer::Answer;
use super::call::Call;
use super::member;
use super::route::seal;
use crate::bundle::{self, Entry, Mode};
use crate::faults::turn::{Blank, Next, Turn, turn};
use crate::faults::{Fault, entries, links, question, wire};
use crate::platforms::Paging;
use crate::search::cursor::Cursor;
use crate::search::include;
use crate::search::query::{self, GENERATION, MARKER, Query};
use crate::search::{Matches, find_nothing};
use crate::world::Mount;
use crate::world::table::ResourceTable;

/// Where a search takes place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) app: &'a App,
    pub(crate) call: &'a Call,
    pub(crate) mount: &'a Mount,
    /// Absolute URL of the mount as the client sees it.
    pub(crate) base: &'a str,
    /// The number of the request.
    pub(crate) request: u64,
    /// The member whose data the caller may see; none: everybody's.
    pub(crate) member: Option<&'a str>,
}

/// Answers a search of one type.
pub(crate) fn answer(scene: Scene<'_>, kind: &str, parameters: &[(String, String)]) -> Answer {
    let Scene { app, call, mount, base, .. } = scene;
    let Some(number) = mount.table_number(kind) else { return unknown_type(kind) };
    let Some(table) = mount.tables().get(number) else { return unknown_type(kind) };
    if let Some(refusal) = question::refuse_type(&app.behaviour, mount, kind) {
        return refusal;
    }
    let mut parameters = parameters.to_vec();
    if let Err(refusal) = member::narrow(scene, kind, &mut parameters) {
        return *refusal;
    }
    let mut query = match Query::parse(kind, base, app.behaviour.paging(), &parameters) {
        Ok(query) => query,
        Err(bad) => return Answer::outcome(StatusCode::BAD_REQUEST, "invalid", &bad.0),
    };
    if let Some(unknown) = query.unknown.first().filter(|_| call.strict()) {
        let known: Vec<&str> = query::known_names(kind).collect();
        let message =
            format!("unknown search parameter {unknown} for {kind}; known: _id, _lastUpdated, {}", known.join(", "));
        return Answer::outcome(StatusCode::BAD_REQUEST, "not-supported", &message);
    }
    if let Err(refusal) = settle_place(scene, kind, &mut query) {
        return *refusal;
    }
    if let Some(refusal) = question::refuse(&app.behaviour, &query) {
        return refusal;
    }
    question::bend(&app.behaviour, &mut query);
    let answer = page(scene, number, table, &query);
    match question::delay(&app.behaviour, &query) {
        Some(delay) => answer.after(delay),
        None => answer,
    }
}

/// Rows a page has for this query.
pub(super) fn count_of(app: &App, query: &Query) -> usize {
    query.count.unwrap_or(app.behaviour.default_count).min(app.behaviour.max_count)
}

/// Turns page numbers and continuation tokens into an offset.
fn settle_place(scene: Scene<'_>, kind: &str, query: &mut Query) -> Result<(), Box<Answer>> {
    if let Some(page) = query.page {
        query.offset = page.saturating_sub(1).saturating_mul(count_of(scene.app, query));
    }
    if let Some(token) = &query.continuation {
        let place = links::place(token, kind, seal(scene.app, scene.mount));
        let invalid = || Answer::outcome(StatusCode::BAD_REQUEST, "invalid", "the continuation token is not valid");
        query.offset = place.ok_or_else(|| Box::new(invalid()))?;
    }
    Ok(())
}

fn page(scene: Scene<'_>, number: usize, table: &ResourceTable, query: &Query) -> Answer {
    let Scene { app, call, mount, base, request, .. } = scene;
    let behaviour = &app.behaviour;
    let matches = match question::finds_nothing(behaviour, query) {
        true => find_nothing(),
        false => app.cache.find(&mount.path, table, query),
    };
    if let Some(refusal) = question::refuse_matches(behaviour, query, matches.len()) {
        return refusal;
    }
    let count = count_of(app, query);
    let scope = format!("{}/{}", mount.path, table.name());
    if let Some(gone) = links::expired(behaviour, &scope, query, count) {
        return gone;
    }
    let turn = turn(behaviour, query, matches.len(), count);
    let rows = rows(&matches, &turn);
    let links = Links { scene, kind: table.name(), query, count, scope: &scope };
    let head = bundle::Head { total: turn.total, links: links.all(&turn) };
    let entries = page_entries(scene, number, &rows, &turn, query);
    let shown = entries.len();
    let outcome = String::from_utf8(bundle::outcome("warning", "informational", "this page may be out of date"));
    let outcome = format!("{{\"resource\":{},\"search\":{{\"mode\":\"outcome\"}}}}", outcome.unwrap_or_default());
    let mut after: Vec<&str> = Vec::new();
    if behaviour.has(Fault::OutcomeEntries) {
        after.push(&outcome);
    }
    if behaviour.has(Fault::EntryWithoutResource) {
        after.extend([
            r#"{"fullUrl":"urn:uuid:7c0d0a4e-0000-4000-8000-000000000000","search":{"mode":"match"}}"#,
            "null",
        ]);
    }
    let body = bundle::searchset(base, &head, &entries, &after, turn.blank == Some(Blank::EmptyArray));
    wire::send(behaviour, Answer::fhir(body), request, shown, call.accepts_gzip())
}

fn rows(matches: &Matches, turn: &Turn) -> Vec<u32> {
    let len = matches.len();
    if turn.rotate == 0 || len == 0 {
        return matches.page(turn.from, turn.to.saturating_sub(turn.from));
    }
    let turned = (turn.from..turn.to).map(|place| (place + turn.rotate) % len);
    turned.flat_map(|place| matches.page(place, 1)).collect()
}

fn page_entries<'w>(scene: Scene<'w>, number: usize, rows: &[u32], turn: &Turn, query: &Query) -> Vec<Entry<'w>> {
    let Scene { app, mount, .. } = scene;
    let behaviour = &app.behaviour;
    let spoils = entries::any(behaviour);
    let mode = |mode| if behaviour.has(Fault::ModeAbsent) { Mode::Unsaid } else { mode };
    let entry = |(number, row): (usize, u32), again: bool, mode: Mode| {
        let table = mount.tables().get(number)?;
        let (id, text) = (table.id(row), table.text(row));
        let text = if spoils { entries::spoil(behaviour, id, text, again) } else { Cow::Borrowed(text.as_bytes()) };
        Some(Entry { kind: table.name(), id, text, mode })
    };
    let matched = rows.iter().enumerate();
    let mut all: Vec<Entry<'_>> =
        matched.filter_map(|(place, &row)| entry((number, row), place < turn.again, mode(Mode::Match))).collect();
    let mut added = include::included(mount, number, rows, &query.includes);
    added.retain(|(number, row)| {
        mount.tables().get(*number).is_some_and(|table| member::refuse(scene, table, *row).is_none())
    });
    all.extend(added.into_iter().filter_map(|place| entry(place, false, mode(Mode::Include))));
    if behaviour.has(Fault::IncludesUnasked) && !rows.is_empty() {
        let other = (number + 1) % mount.tables().len();
        all.extend((0..2).filter_map(|row| entry((other, row), false, mode(Mode::Include))));
    }
    all.retain(|entry| !entry.id.is_empty());
    all
}

pub(crate) fn unknown_type(kind: &str) -> Answer {
    let message = format!("resource type {kind} is not served here; GET metadata lists the types that are");
    Answer::outcome(StatusCode::NOT_FOUND, "not-supported", &message)
}

/// Writes the links of a page.
struct Links<'a> {
    scene: Scene<'a>,
    kind: &'a str,
    query: &'a Query,
    count: usize,
    scope: &'a str,
}

impl Links<'_> {
    fn all(&self, turn: &Turn) -> Vec<(&'static str, String)> {
        let mut links = vec![("self", self.own())];
        if let Some(next) = &turn.next {
            let site = links::Site {
                base: self.scene.base,
                host: &self.scene.call.host,
                mount: &self.scene.mount.path,
                kind: self.kind,
                offset: next.offset,
            };
            links.push(("next", links::bend(&self.scene.app.behaviour, site, self.page(next))));
        }
        if self.query.offset > 0 && !self.query.count_only {
            let offset = self.query.offset.saturating_sub(self.count);
            links.push(("previous", self.page(&Next { offset, marker: None })));
        }
        links
    }

    /// The search as it was understood.
    fn own(&self) -> String {
        format!("{}_count={}", self.search(), self.count)
    }

    /// The search with room for one more parameter.
    fn search(&self) -> String {
        let mut query = self.query.encoded();
        if !query.is_empty() {
            query.push('&');
        }
        format!("{}/{}?{query}", self.scene.base, self.kind)
    }

    fn page(&self, next: &Next) -> String {
        let Scene { app, mount, base, .. } = self.scene;
        let (offset, count) = (next.offset, self.count);
        let seal = seal(app, mount);
        let mut link = match app.behaviour.paging() {
            Paging::GetPages => {
                let cursor = Cursor { resource: self.kind.to_owned(), query: self.query.encoded() };
                let token = cursor.token(seal);
                format!("{base}?_getpages={token}&_getpagesoffset={offset}&_count={count}&_bundletype=searchset")
            }
            Paging::Skip => format!("{}_count={count}&_skip={offset}", self.search()),
            Paging::Page => {
                let page = offset.checked_div(count).unwrap_or(0) + 1;
                format!("{}_count={count}&page={page}", self.search())
            }
            Paging::Continuation => {
                format!("{}_count={count}&ct={}", self.search(), links::place_token(self.kind, offset, seal))
            }
        };
        if let Some(marker) = &next.marker {
            link.push_str(&format!("&{MARKER}={marker}"));
        }
        if let Some(generation) = links::current_generation(&app.behaviour, self.scope, self.query) {
            link.push_str(&format!("&{GENERATION}={generation}"));
        }
        link
    }
}
