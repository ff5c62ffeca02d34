//! What a resource says for a search parameter: terms for tokens and references, parts for texts, ranges for dates.
//!
//! Tokens and references become plain strings on both sides, so that one equality serves matching and index alike.

use serde_json::Value;

use super::instant::{self, Range};
use super::parameters::{Kind, Parameter};
use super::path::walk;

/// Calls `found` with every term of a token or reference parameter.
pub(crate) fn terms(text: &str, parameter: &Parameter, found: &mut dyn FnMut(&str)) {
    for path in parameter.paths {
        walk(text, path, &mut |raw| {
            let Ok(value) = serde_json::from_str::<Value>(raw) else { return };
            match parameter.kind {
                Kind::Token => token_terms(&value, found),
                Kind::Reference => reference_terms(&value, found),
                Kind::Text | Kind::Date => {}
            }
        });
    }
}

/// Calls `found` with every part of a text parameter.
pub(crate) fn parts(text: &str, parameter: &Parameter, found: &mut dyn FnMut(&str)) {
    for path in parameter.paths {
        walk(text, path, &mut |raw| {
            if let Ok(value) = serde_json::from_str::<Value>(raw) {
                text_parts(&value, found);
            }
        });
    }
}

/// Calls `found` with the range of every date of a date parameter; open ends of a period are unbounded.
pub(crate) fn ranges(text: &str, parameter: &Parameter, found: &mut dyn FnMut(Range)) {
    for path in parameter.paths {
        walk(text, path, &mut |raw| {
            let Ok(value) = serde_json::from_str::<Value>(raw) else { return };
            let end = |key: &str| value.get(key).and_then(Value::as_str).and_then(instant::parse_range);
            match value.as_str() {
                Some(date) => instant::parse_range(date).into_iter().for_each(&mut *found),
                None => found(Range {
                    from: end("start").map_or(i64::MIN, |range| range.from),
                    to: end("end").map_or(i64::MAX, |range| range.to),
                }),
            }
        });
    }
}

fn token_terms(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(code) => coded(None, code, found),
        Value::Bool(flag) => coded(None, if *flag { "true" } else { "false" }, found),
        Value::Array(values) => values.iter().for_each(|value| token_terms(value, found)),
        Value::Object(object) => {
            if let Some(codings) = object.get("coding") {
                token_terms(codings, found);
            }
            let system = object.get("system").and_then(Value::as_str);
            match object.get("code").or_else(|| object.get("value")) {
                Some(Value::String(code)) => coded(system, code, found),
                Some(Value::Number(code)) => coded(system, &code.to_string(), found),
                _ => {}
            }
        }
        Value::Null | Value::Number(_) => {}
    }
}

fn coded(system: Option<&str>, code: &str, found: &mut dyn FnMut(&str)) {
    found(code);
    found(&format!("{}|{code}", system.unwrap_or("")));
    if let Some(system) = system {
        found(&format!("{system}|"));
    }
}

fn reference_terms(value: &Value, found: &mut dyn FnMut(&str)) {
    let Some(reference) = value.get("reference").and_then(Value::as_str) else { return };
    let reference = unversioned(reference);
    found(reference);
    if let Some((kind, id)) = local(reference) {
        if kind.len() + id.len() + 1 < reference.len() {
            found(&format!("{kind}/{id}"));
        }
        found(id);
    }
}

/// Every `reference` of a resource, however deep.
pub(crate) fn references(text: &str) -> Vec<String> {
    fn walk_value(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| walk_value(value, found)),
            Value::Object(object) => {
                found.extend(object.get("reference").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| walk_value(value, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        walk_value(&value, &mut found);
    }
    found
}

/// A reference without `/_history/…`.
pub(crate) fn unversioned(reference: &str) -> &str {
    reference.split_once("/_history/").map_or(reference, |(target, _)| target)
}

/// Type and id at the end of a relative or absolute reference.
pub(crate) fn local(reference: &str) -> Option<(&str, &str)> {
    let (front, id) = reference.rsplit_once('/')?;
    let kind = front.rsplit('/').next()?;
    let named = kind.starts_with(|first: char| first.is_ascii_uppercase()) && !id.is_empty();
    named.then_some((kind, id))
}

fn text_parts(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(values) => values.iter().for_each(|value| text_parts(value, found)),
        Value::Object(object) => {
            for key in ["text", "family", "given", "prefix", "suffix", "line", "city", "state", "country", "postalCode"]
            {
                if let Some(part) = object.get(key) {
                    text_parts(part, found);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
