//! Bulk Data `$export` of a mount: kick-off, status, manifest, files.
//!
//! The job travels in its own URL, as a cursor does, so that an export survives a restart of the sandbox; only the
//! number of polls is remembered.

use axum::http::header::{CONTENT_LOCATION, EXPIRES, RETRY_AFTER};
use axum::http::{HeaderName, Method, StatusCode};
use chrono::DateTime;
use serde_json::{Value, json};

use super::answer::Answer;
use super::auth;
use super::member;
use super::route::{not_found, seal};
use super::search::Scene;
use crate::faults::{Fault, links};
use crate::search::cursor::Cursor;
use crate::search::instant;
use crate::search::query;
use crate::world::table::ResourceTable;

const NDJSON: &str = "application/fhir+ndjson";
/// Resources in one file.
const FILE_ROWS: usize = 1_000;
/// Polls before an export is ready.
const POLLS: u64 = 2;
const SLOW_POLLS: u64 = 5;

/// What an export is about.
#[derive(Debug, Clone)]
struct Job {
    /// The job's number since the sandbox was started.
    number: u64,
    types: Vec<String>,
    since: Option<String>,
    /// Seconds since 1970.
    started: u64,
}

impl Job {
    fn token(&self, seal: u64) -> String {
        let since = self.since.as_deref().unwrap_or("");
        let query = format!("{}|{}|{since}|{}", self.number, self.types.join(","), self.started);
        Cursor { resource: "$export".to_owned(), query }.token(seal)
    }

    fn parse(token: &str, seal: u64) -> Option<Self> {
        let cursor = Cursor::parse(token, seal).filter(|cursor| cursor.resource == "$export")?;
        let mut parts = cursor.query.split('|');
        let number = parts.next()?.parse().ok()?;
        let types = parts.next()?.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect();
        let since = parts.next().filter(|since| !since.is_empty()).map(str::to_owned);
        Some(Self { number, types, since, started: parts.next()?.parse().ok()? })
    }

    fn wants(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind)
    }

    fn rows(&self, scene: Scene<'_>, table: &ResourceTable) -> Vec<u32> {
        let since = self.since.as_deref().and_then(instant::parse_range).map_or(i64::MIN, |range| range.from);
        let first = u32::from(scene.app.behaviour.has(Fault::BulkDeleted));
        let rows = first..u32::try_from(table.len()).unwrap_or(u32::MAX);
        rows.filter(|&row| self.since.is_none() || table.updated(row) >= since).collect()
    }
}

/// Answers a request below `$export`, if it is one.
pub(crate) fn answer(scene: Scene<'_>, rest: &str) -> Option<Answer> {
    let segments: Vec<&str> = rest.split('/').collect();
    let answer = match (&scene.call.method, segments.as_slice()) {
        (&Method::GET | &Method::POST, ["$export"]) => member::refuse_all(scene).unwrap_or_else(|| kick_off(scene)),
        (&Method::GET, ["$export-status", token]) => with_job(scene, token, status),
        (&Method::DELETE, ["$export-status", token]) => with_job(scene, token, |_, _, _| {
            Answer::outcome(StatusCode::ACCEPTED, "informational", "the export is given up")
        }),
        (&Method::GET, ["$export-file", token, file]) => {
            with_job(scene, token, |scene, job, _| download(scene, job, file))
        }
        _ => return None,
    };
    Some(answer)
}

fn with_job(scene: Scene<'_>, token: &str, then: impl FnOnce(Scene<'_>, &Job, &str) -> Answer) -> Answer {
    let gone = || not_found("this export does not exist and may have expired");
    let Some(job) = Job::parse(token, seal(scene.app, scene.mount)) else { return gone() };
    let behaviour = &scene.app.behaviour;
    if job.number == 0 && behaviour.has(Fault::BulkExpires) && behaviour.memory.counted("bulk downloads") > 0 {
        return gone();
    }
    then(scene, &job, token)
}

fn kick_off(scene: Scene<'_>) -> Answer {
    let Scene { app, call, mount, base, .. } = scene;
    if app.behaviour.has(Fault::BulkUnsupported) {
        return not_found("$export is not supported");
    }
    if !call.header("prefer").is_some_and(|prefer| prefer.contains("respond-async")) {
        return Answer::outcome(StatusCode::BAD_REQUEST, "required", "send the header Prefer: respond-async");
    }
    let given = query::decode(&call.query);
    let field =
        |name: &'static str| given.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.clone());
    let types: Vec<String> =
        field("_type").flat_map(|types| types.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
    if let Some(unknown) = types.iter().find(|kind| mount.table_number(kind).is_none()) {
        return Answer::outcome(StatusCode::BAD_REQUEST, "invalid", &format!("_type: {unknown} is not served here"));
    }
    let since = field("_since").next();
    if let Some(since) = since.as_deref().filter(|since| instant::parse_range(since).is_none()) {
        return Answer::outcome(StatusCode::BAD_REQUEST, "invalid", &format!("_since: {since} is not an instant"));
    }
    let number = app.behaviour.memory.count("exports");
    let job = Job { number, types, since, started: app.behaviour.now().as_secs() };
    let token = job.token(seal(app, mount));
    let location = if app.behaviour.has(Fault::BulkRelativeUrls) {
        format!("$export-status/{token}")
    } else {
        format!("{base}/$export-status/{token}")
    };
    Answer::outcome(StatusCode::ACCEPTED, "informational", "the export has begun").with(CONTENT_LOCATION, location)
}

fn status(scene: Scene<'_>, job: &Job, token: &str) -> Answer {
    let behaviour = &scene.app.behaviour;
    let poll = behaviour.memory.count(&format!("polls {token}"));
    let needed = if behaviour.has(Fault::BulkSlow) { POLLS + SLOW_POLLS } else { POLLS };
    if behaviour.has(Fault::Bulk429) && poll.is_multiple_of(2) {
        return Answer::outcome(StatusCode::TOO_MANY_REQUESTS, "throttled", "polled too often").with(RETRY_AFTER, "1");
    }
    if poll < needed {
        return Answer::new(StatusCode::ACCEPTED, NDJSON, "")
            .with(RETRY_AFTER, "1")
            .with(HeaderName::from_static("x-progress"), format!("{}% done", 100 * poll / needed));
    }
    if behaviour.has(Fault::BulkFails) {
        return Answer::outcome(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the export failed");
    }
    Answer::new(StatusCode::OK, "application/json", manifest(scene, job, token).to_string())
        .with(EXPIRES, http_date(job.started + 86_400))
}

fn http_date(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0)).unwrap_or_default();
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn manifest(scene: Scene<'_>, job: &Job, token: &str) -> Value {
    let Scene { app, call, mount, base, .. } = scene;
    let behaviour = &app.behaviour;
    let files = match behaviour.first(&[Fault::BulkOtherHost, Fault::BulkOtherHostNoToken, Fault::BulkRelativeUrls]) {
        Some(Fault::BulkRelativeUrls) => format!("../$export-file/{token}"),
        Some(_) => {
            let host = links::other_host(&call.host).unwrap_or_else(|| call.host.clone());
            format!("{}://{host}{}/$export-file/{token}", call.scheme, mount.path)
        }
        None => format!("{base}/$export-file/{token}"),
    };
    let mut output = Vec::new();
    for table in mount.tables().iter().filter(|table| job.wants(table.name())) {
        let rows = job.rows(scene, table).len();
        for part in 0..rows.div_ceil(FILE_ROWS) {
            let count = FILE_ROWS.min(rows - part * FILE_ROWS);
            let url = format!("{files}/{}.{part}.ndjson", table.name());
            output.push(json!({"type": table.name(), "url": url, "count": count}));
        }
    }
    let odd = behaviour.has(Fault::BulkOddManifest);
    if odd {
        output.push(json!({"type": "Location", "url": format!("{files}/empty.ndjson")}));
    }
    let started = i64::try_from(job.started).ok().and_then(|at| DateTime::from_timestamp(at, 0)).unwrap_or_default();
    let time = if odd { "05/09/2022 23:01".to_owned() } else { started.format("%Y-%m-%dT%H:%M:%SZ").to_string() };
    let token_needed = auth::wants_credentials(app, scene.mount) && !behaviour.has(Fault::BulkOtherHostNoToken);
    let mut manifest = json!({
        "transactionTime": time,
        "request": format!("{base}/$export"),
        "requiresAccessToken": token_needed,
        "output": output,
        "error": if odd { json!({}) } else { json!([]) },
    });
    if behaviour.has(Fault::BulkDeleted) {
        manifest["deleted"] = json!([{"type": "Bundle", "url": format!("{files}/deleted.ndjson"), "count": 1}]);
    }
    manifest
}

fn download(scene: Scene<'_>, job: &Job, file: &str) -> Answer {
    let Scene { app, mount, .. } = scene;
    let behaviour = &app.behaviour;
    if behaviour.has(Fault::BulkOtherHostNoToken) && carries_credentials(scene) {
        let message = "this address is signed already: send no credentials";
        return Answer::outcome(StatusCode::BAD_REQUEST, "security", message);
    }
    behaviour.memory.count("bulk downloads");
    match file {
        "empty.ndjson" if behaviour.has(Fault::BulkOddManifest) => return Answer::new(StatusCode::OK, NDJSON, ""),
        "deleted.ndjson" if behaviour.has(Fault::BulkDeleted) => {
            return Answer::new(StatusCode::OK, NDJSON, deleted(scene, job));
        }
        _ => {}
    }
    let mut parts = file.splitn(3, '.');
    let (kind, part) = (parts.next().unwrap_or(""), parts.next().and_then(|part| part.parse::<usize>().ok()));
    let table = mount.table_number(kind).and_then(|number| mount.tables().get(number));
    let (Some(table), Some(part), true) = (table, part, job.wants(kind)) else { return not_found("no such file") };
    let mut out = String::new();
    for row in job.rows(scene, table).into_iter().skip(part.saturating_mul(FILE_ROWS)).take(FILE_ROWS) {
        out.push_str(table.text(row));
        out.push('\n');
    }
    Answer::new(StatusCode::OK, NDJSON, out)
}

fn carries_credentials(scene: Scene<'_>) -> bool {
    let headers = &scene.call.headers;
    let key = scene.app.options.api_key.as_ref().is_some_and(|key| headers.contains_key(&key.header));
    key || headers.contains_key("authorization")
}

/// One Bundle of deletions: the first resource of each type.
fn deleted(scene: Scene<'_>, job: &Job) -> String {
    let tables = scene.mount.tables().iter().filter(|table| job.wants(table.name()));
    let entries: Vec<Value> = tables
        .map(|table| json!({"request": {"method": "DELETE", "url": format!("{}/{}", table.name(), table.id(0))}}))
        .collect();
    let bundle = json!({"resourceType": "Bundle", "id": "deleted", "type": "transaction", "entry": entries});
    format!("{bundle}\n")
}
