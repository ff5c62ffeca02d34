//! What belongs to a member: who may see only that, and `Patient/[id]/$everything`.

use std::borrow::Cow;

use axum::http::StatusCode;

use super::answer::Answer;
use super::route::not_found;
use super::search::{Scene, count_of, unknown_type};
use crate::bundle::{self, Entry, Head, Mode};
use crate::faults::wire;
use crate::search::parameters;
use crate::search::query::{self, Query};
use crate::search::terms;
use crate::world::Mount;
use crate::world::table::ResourceTable;

/// The parameter that finds what belongs to a member; none for types that are nobody's, such as Practitioner.
fn parameter_of(kind: &str) -> Option<&'static str> {
    match kind {
        "Patient" => Some("_id"),
        _ => parameters::find(kind, "patient").map(|parameter| parameter.name),
    }
}

/// Whether a row is the member's own, or nobody's.
fn may_see(table: &ResourceTable, row: u32, member: &str) -> bool {
    let Some(parameter) = parameters::find(table.name(), "patient") else {
        return table.name() != "Patient" || table.id(row) == member;
    };
    let mut own = false;
    terms::terms(table.text(row), parameter, &mut |term| own |= term == member);
    own
}

/// Narrows a search to the caller's own member.
///
/// # Errors
/// The refusal of a search that names somebody else.
pub(super) fn narrow(scene: Scene<'_>, kind: &str, given: &mut Vec<(String, String)>) -> Result<(), Box<Answer>> {
    let (Some(member), Some(parameter)) = (scene.member, parameter_of(kind)) else { return Ok(()) };
    let names = |name: &str| {
        let name = name.split(':').next().unwrap_or(name);
        matches!(name, "patient" | "subject" | "beneficiary") || (kind == "Patient" && name == "_id")
    };
    let mut named = given.iter().filter(|(name, _)| names(name)).flat_map(|(_, value)| value.split(','));
    let own = |value: &str| terms::unversioned(value).rsplit('/').next() == Some(member);
    if named.any(|value| !own(value)) {
        return Err(Box::new(forbidden()));
    }
    if !given.iter().any(|(name, _)| name == parameter) {
        given.push((parameter.to_owned(), member.to_owned()));
    }
    Ok(())
}

/// The refusal of a read of what belongs to somebody else.
pub(super) fn refuse(scene: Scene<'_>, table: &ResourceTable, row: u32) -> Option<Answer> {
    scene.member.filter(|member| !may_see(table, row, member)).map(|_| forbidden())
}

/// The refusal of what is never a member's alone.
pub(super) fn refuse_all(scene: Scene<'_>) -> Option<Answer> {
    scene.member.map(|_| forbidden())
}

fn forbidden() -> Answer {
    Answer::outcome(StatusCode::FORBIDDEN, "forbidden", "this token is another patient's")
}

/// `GET Patient/[id]/$everything`: the patient, what belongs to the patient, and whom or what that refers to.
pub(super) fn everything(scene: Scene<'_>, id: &str) -> Answer {
    let Scene { app, call, mount, base, request, .. } = scene;
    let Some((patients, row)) = mount.place("Patient", id) else {
        return if mount.table_number("Patient").is_some() {
            not_found(&format!("resource Patient/{id} is not known"))
        } else {
            unknown_type("Patient")
        };
    };
    if let Some(refusal) = mount.tables().get(patients).and_then(|table| refuse(scene, table, row)) {
        return refusal;
    }
    let parsed = Query::parse("Patient", base, app.behaviour.paging(), &query::decode(&call.query));
    let query = match parsed {
        Ok(query) => query,
        Err(bad) => return Answer::outcome(StatusCode::BAD_REQUEST, "invalid", &bad.0),
    };
    let all = belongings(mount, id);
    let count = count_of(app, &query).max(1);
    let entry = |&(number, row): &(usize, u32)| {
        let table = mount.tables().get(number)?;
        Some(Entry {
            kind: table.name(),
            id: table.id(row),
            text: Cow::Borrowed(table.text(row).as_bytes()),
            mode: Mode::Match,
        })
    };
    let entries: Vec<Entry<'_>> = all.iter().skip(query.offset).take(count).filter_map(entry).collect();
    let page = |offset: usize| format!("{base}/Patient/{id}/$everything?_count={count}&_offset={offset}");
    let mut links = vec![("self", page(query.offset))];
    let next = query.offset.saturating_add(count);
    if next < all.len() {
        links.push(("next", page(next)));
    }
    let body = bundle::searchset(base, &Head { total: Some(all.len()), links }, &entries, &[], false);
    wire::send(&app.behaviour, Answer::fhir(body), request, entries.len(), call.accepts_gzip())
}

/// Table and row of everything of a member, in the order of the tables.
fn belongings(mount: &Mount, id: &str) -> Vec<(usize, u32)> {
    let mut own = Vec::new();
    for (number, table) in mount.tables().iter().enumerate() {
        let rows = 0..u32::try_from(table.len()).unwrap_or(u32::MAX);
        let belongs = |row: &u32| parameter_of(table.name()).is_some() && may_see(table, *row, id);
        own.extend(rows.filter(belongs).map(|row| (number, row)));
    }
    let mut all = own.clone();
    for (number, row) in own {
        let Some(table) = mount.tables().get(number) else { continue };
        for target in terms::references(table.text(row)) {
            let place = terms::local(terms::unversioned(&target)).and_then(|(kind, id)| mount.place(kind, id));
            all.extend(place.filter(|(number, _)| {
                mount.tables().get(*number).is_some_and(|table| parameter_of(table.name()).is_none())
            }));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}
