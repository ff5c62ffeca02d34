//! Which request is answered by what.

use axum::http::{Method, StatusCode};
use serde_json::json;

use super::answer::Answer;
use super::call::Call;
use super::{App, auth, search};
use crate::capability;
use crate::search::cursor::{Cursor, checksum};
use crate::search::query;
use crate::world::Mount;

/// Answers one request.
pub(crate) async fn answer(app: &App, call: &Call) -> Answer {
    let Some((mount, rest)) = mounted(app, &call.path) else {
        return if call.path == "/" { listing(app, call) } else { not_found(&format!("no API at {}", call.path)) };
    };
    if let Some(refusal) = auth::refuse(app, call, rest) {
        return refusal;
    }
    under_mount(app, call, mount, rest)
}

/// The mount whose path is the longest beginning of this one, and what follows it.
fn mounted<'a>(app: &'a App, path: &'a str) -> Option<(&'a Mount, &'a str)> {
    app.world
        .mounts()
        .iter()
        .filter_map(|mount| {
            let rest = path.strip_prefix(mount.path())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (mount, rest.trim_matches('/')))
        })
        .max_by_key(|(mount, _)| mount.path().len())
}

fn under_mount(app: &App, call: &Call, mount: &Mount, rest: &str) -> Answer {
    let base = call.base(mount.path());
    let segments: Vec<&str> = rest.split('/').collect();
    match (&call.method, segments.as_slice()) {
        (&Method::GET, ["metadata"]) => Answer::fhir(capability::statement(mount, &base, false).to_string()),
        (&Method::GET, [""]) => next_page(app, call, mount, &base),
        (&Method::GET, [kind]) => search::answer(app, call, mount, &base, kind, &query::decode(&call.query)),
        (&Method::GET, [kind, id]) if *id != "_search" => read(mount, kind, id),
        (&Method::POST, [kind, "_search"]) => {
            let mut parameters = query::decode(&call.query);
            parameters.extend(query::decode(&call.body));
            search::answer(app, call, mount, &base, kind, &parameters)
        }
        (&Method::GET | &Method::POST, _) => not_found(&format!("nothing at {}", call.path)),
        (method, _) => {
            let message = format!("{method} is not supported: this server is read-only");
            Answer::outcome(StatusCode::METHOD_NOT_ALLOWED, "not-supported", &message)
        }
    }
}

/// Binds cursors to this mount of this world.
pub(crate) fn seal(app: &App, mount: &Mount) -> u64 {
    checksum(app.world.seal(), mount.path())
}

/// `GET {base}?_getpages=…`: the search travels in the token.
fn next_page(app: &App, call: &Call, mount: &Mount, base: &str) -> Answer {
    let given = query::decode(&call.query);
    let Some((_, token)) = given.iter().find(|(name, _)| name == "_getpages") else {
        return not_found("a search needs a resource type");
    };
    let Some(cursor) = Cursor::parse(token, seal(app, mount)) else {
        return Answer::outcome(StatusCode::GONE, "processing", "this search does not exist and may have expired");
    };
    let mut parameters = query::decode(&cursor.query);
    parameters.extend(given.into_iter().filter(|(name, _)| name != "_getpages"));
    search::answer(app, call, mount, base, &cursor.resource, &parameters)
}

fn read(mount: &Mount, kind: &str, id: &str) -> Answer {
    let Some(number) = mount.table_number(kind) else { return search::unknown_type(kind) };
    let text = mount.tables().get(number).and_then(|table| table.find(id).map(|row| table.text(row).to_owned()));
    text.map_or_else(|| not_found(&format!("resource {kind}/{id} is not known")), Answer::fhir)
}

pub(crate) fn not_found(message: &str) -> Answer {
    Answer::outcome(StatusCode::NOT_FOUND, "not-found", message)
}

/// `GET /`: which APIs there are.
fn listing(app: &App, call: &Call) -> Answer {
    let mounts: Vec<_> = app
        .world
        .mounts()
        .iter()
        .map(|mount| {
            let types: serde_json::Map<_, _> =
                mount.types().map(|(kind, count)| (kind.to_owned(), json!(count))).collect();
            json!({"title": mount.title(), "base": call.base(mount.path()), "resources": types})
        })
        .collect();
    Answer::new(StatusCode::OK, "application/json", json!({"apis": mounts}).to_string())
}
