//! `_include` and `_revinclude`: resources that travel along with the matches.

use std::collections::HashSet;

use super::parameters::{self, Kind, Parameter};
use super::query::BadQuery;
use super::terms;
use crate::world::Mount;

/// No page carries more included resources than this: a network alone may be referenced by every role.
const MAX_INCLUDED: usize = 10_000;

/// One include of a search.
#[derive(Debug, Clone)]
pub(crate) struct Include {
    reverse: bool,
    source: String,
    /// `None` for `*`.
    parameter: Option<&'static Parameter>,
    target: Option<String>,
}

impl Include {
    /// Reads `Source:parameter[:Target]` or `Source:*`.
    pub(crate) fn parse(name: &str, value: &str) -> Result<Self, BadQuery> {
        let mut parts = value.splitn(3, ':');
        let source = parts.next().unwrap_or("").to_owned();
        let parameter = parts.next().unwrap_or("*");
        let target = parts.next().map(str::to_owned);
        let reverse = name == "_revinclude";
        let known = parameters::find(&source, parameter).filter(|known| known.kind == Kind::Reference);
        if parameter != "*" && known.is_none() {
            return Err(BadQuery(format!("{name}={value}: {source} has no reference parameter {parameter}")));
        }
        Ok(Self { reverse, source, parameter: known, target })
    }
}

/// A resource of a mount: its table and row.
pub(crate) type Place = (usize, u32);

/// The resources that the includes add to these matches, each once and none that is a match itself.
pub(crate) fn included(mount: &Mount, matched: usize, rows: &[u32], includes: &[Include]) -> Vec<Place> {
    let mut seen: HashSet<Place> = rows.iter().map(|&row| (matched, row)).collect();
    let mut places = Vec::new();
    for include in includes {
        let found = if include.reverse {
            backward(mount, matched, rows, include)
        } else {
            forward(mount, matched, rows, include)
        };
        for place in found {
            if places.len() >= MAX_INCLUDED {
                return places;
            }
            if seen.insert(place) {
                places.push(place);
            }
        }
    }
    places
}

fn forward(mount: &Mount, matched: usize, rows: &[u32], include: &Include) -> Vec<Place> {
    let mut places = Vec::new();
    let Some(table) = mount.tables().get(matched).filter(|table| table.name() == include.source) else {
        return places;
    };
    let parameters: Vec<&Parameter> = match include.parameter {
        Some(parameter) => vec![parameter],
        None => parameters::of(&include.source).filter(|parameter| parameter.kind == Kind::Reference).collect(),
    };
    for &row in rows {
        for parameter in &parameters {
            terms::terms(table.text(row), parameter, &mut |term| {
                let Some((kind, id)) = terms::local(term) else { return };
                let wanted = include.target.as_deref().is_none_or(|target| target == kind);
                if let (true, Some(place)) = (wanted, mount.place(kind, id)) {
                    places.push(place);
                }
            });
        }
    }
    places
}

fn backward(mount: &Mount, matched: usize, rows: &[u32], include: &Include) -> Vec<Place> {
    let mut places = Vec::new();
    let (Some(target), Some(source)) = (mount.tables().get(matched), mount.table_number(&include.source)) else {
        return places;
    };
    let Some(table) = mount.tables().get(source) else { return places };
    let Some(parameter) = include.parameter else { return places };
    let Some(index) = table.index(parameter) else { return places };
    let mut candidates = Vec::new();
    for &row in rows {
        let wanted = format!("{}/{}", target.name(), target.id(row));
        candidates.clear();
        index.candidates(&wanted, &mut candidates);
        for &candidate in &candidates {
            let mut held = false;
            terms::terms(table.text(candidate), parameter, &mut |term| held |= term == wanted);
            if held {
                places.push((source, candidate));
            }
        }
    }
    places
}
