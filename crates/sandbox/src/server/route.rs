//! Which request is answered by what.

use axum::http::{Method, StatusCode};
use serde_json::json;

use super::answer::Answer;
use super::call::Call;
use super::search::Scene;
use super::{App, auth, backend, bulk, member, search};
use crate::capability;
use crate::faults::gate::HTML;
use crate::faults::{Fault, gate, question, wire};
use crate::search::cursor::{Cursor, checksum};
use crate::search::query;
use crate::world::Mount;

/// Answers one request.
pub(crate) fn answer(app: &App, call: &Call) -> Answer {
    if let Some(answer) = auth::token(app, call) {
        return answer;
    }
    let Some((mount, rest)) = mounted(app, &call.path) else {
        return if call.path == "/" { listing(app, call) } else { not_found(&format!("no API at {}", call.path)) };
    };
    if let Some(server) = app.authorization.as_ref().filter(|_| mount.is_guarded())
        && let Some(answer) = server.answer(app, call, mount, rest)
    {
        return answer;
    }
    if app.options.backend.is_some() && rest == ".well-known/smart-configuration" {
        return Answer::new(StatusCode::OK, "application/json", backend::configuration(call).to_string());
    }
    let open = rest.starts_with("$export-file/") && app.behaviour.has(Fault::BulkOtherHostNoToken);
    let admitted = match auth::admit(app, call, mount, rest) {
        Ok(admitted) => admitted,
        Err(_) if open => None,
        Err(refusal) => return refusal,
    };
    if app.behaviour.has(Fault::PickyAccept) && !accepts_json(call) {
        return Answer::outcome(StatusCode::NOT_ACCEPTABLE, "not-supported", "only application/json can be had here");
    }
    let base = call.base(&mount.path);
    let member = admitted.as_ref().map(|admitted| admitted.patient.as_str()).or(app.options.member.as_deref());
    let scene = Scene { app, call, mount, base: &base, request: 0, member };
    if rest == "metadata" && call.method == Method::GET {
        return metadata(scene);
    }
    if let Some(answer) = bulk::answer(scene, rest) {
        return answer;
    }
    if let Some(answer) = gate::redirect_away(&app.behaviour, call) {
        return answer;
    }
    let request = app.behaviour.memory.next_request();
    if let Some(answer) = gate::strike(&app.behaviour, call, request) {
        return answer;
    }
    under_mount(Scene { request, ..scene }, rest)
}

fn accepts_json(call: &Call) -> bool {
    call.header("accept").is_none_or(|accept| accept.contains("application/json") || accept.contains("*/*"))
}

/// The mount whose path is the longest beginning of this one, and what follows it.
fn mounted<'a>(app: &'a App, path: &'a str) -> Option<(&'a Mount, &'a str)> {
    app.world
        .mounts()
        .iter()
        .filter_map(|mount| {
            let rest = path.strip_prefix(mount.path.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (mount, rest.trim_matches('/')))
        })
        .max_by_key(|(mount, _)| mount.path.len())
}

fn under_mount(scene: Scene<'_>, rest: &str) -> Answer {
    let call = scene.call;
    let segments: Vec<&str> = rest.split('/').collect();
    match (&call.method, segments.as_slice()) {
        (&Method::GET, ["" | "_search"]) => next_page(scene),
        (&Method::GET, [_]) if call.query.contains("_getpages=") => next_page(scene),
        (&Method::GET, [kind]) => search::answer(scene, kind, &query::decode(&call.query)),
        (&Method::GET, ["Patient", id, "$everything"]) => member::everything(scene, id),
        (&Method::GET, [kind, id]) if *id != "_search" => read(scene, kind, id),
        (&Method::POST, [kind, "_search"]) => {
            let mut parameters = query::decode(&call.query);
            parameters.extend(query::decode(&call.body));
            search::answer(scene, kind, &parameters)
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
    checksum(app.world.seal(), &mount.path)
}

/// `GET {base}?_getpages=…`: the search travels in the token.
fn next_page(scene: Scene<'_>) -> Answer {
    let given = query::decode(&scene.call.query);
    let Some((_, token)) = given.iter().find(|(name, _)| name == "_getpages") else {
        return not_found("a search needs a resource type");
    };
    let Some(cursor) = Cursor::parse(token, seal(scene.app, scene.mount)) else {
        return Answer::outcome(StatusCode::GONE, "processing", "this search does not exist and may have expired");
    };
    let mut parameters = query::decode(&cursor.query);
    parameters.extend(given.into_iter().filter(|(name, _)| name != "_getpages"));
    search::answer(scene, &cursor.resource, &parameters)
}

fn read(scene: Scene<'_>, kind: &str, id: &str) -> Answer {
    let Scene { app, call, mount, request, .. } = scene;
    if let Some(refusal) = question::refuse_type(&app.behaviour, mount, kind) {
        return refusal;
    }
    let Some(number) = mount.table_number(kind) else { return search::unknown_type(kind) };
    let found = mount.tables().get(number).and_then(|table| Some((table, table.find(id)?)));
    let Some((table, row)) = found else { return not_found(&format!("resource {kind}/{id} is not known")) };
    if let Some(refusal) = member::refuse(scene, table, row) {
        return refusal;
    }
    wire::send(&app.behaviour, Answer::fhir(table.text(row).to_owned()), request, 1, call.accepts_gzip())
}

fn metadata(scene: Scene<'_>) -> Answer {
    let Scene { app, mount, base, .. } = scene;
    let behaviour = &app.behaviour;
    match behaviour.first(&[Fault::MetadataMissing, Fault::MetadataHtml, Fault::MetadataLies]) {
        Some(Fault::MetadataMissing) => not_found("nothing at metadata"),
        Some(Fault::MetadataHtml) => Answer::new(StatusCode::OK, HTML, gate::login_page()),
        Some(_) => Answer::fhir(capability::lie(mount, base).to_string()),
        None => Answer::fhir(capability::statement(mount, base, !behaviour.has(Fault::BulkUnsupported)).to_string()),
    }
}

pub(crate) fn not_found(message: &str) -> Answer {
    Answer::outcome(StatusCode::NOT_FOUND, "not-found", message)
}

/// `GET /`: which APIs there are.
fn listing(app: &App, call: &Call) -> Answer {
    let apis: Vec<_> = app
        .world
        .mounts()
        .iter()
        .map(|mount| {
            let types: serde_json::Map<_, _> =
                mount.types().map(|(kind, count)| (kind.to_owned(), json!(count))).collect();
            json!({"title": mount.title, "base": call.base(&mount.path), "resources": types})
        })
        .collect();
    Answer::new(StatusCode::OK, "application/json", json!({"apis": apis}).to_string())
}
