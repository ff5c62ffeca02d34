//! Faults in the text of single resources.
//!
//! Which resource is hit depends on its id alone, so that a resource is spoilt each time it is served.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{Behaviour, Fault};
use crate::search::cursor::checksum;

/// One resource in so many is spoilt by the faults of habit 20.
const SPOILT_ONE_IN: u64 = 17;
/// One resource in so many has bad fields.
const BAD_FIELDS_ONE_IN: u64 = 5;
/// The stamp of an export.
const EXPORT_STAMP: &str = "2026-11-23T02:00:00.000+00:00";

/// Whether any of these faults is on.
pub(crate) fn any(behaviour: &Behaviour) -> bool {
    behaviour.first(ALL).is_some()
}

const ALL: &[Fault] = &[
    Fault::NoLastUpdated,
    Fault::ExportStamps,
    Fault::MissingId,
    Fault::InvalidUtf8,
    Fault::LoneSurrogate,
    Fault::DuplicateKeys,
    Fault::BigNumbers,
    Fault::BadFields,
    Fault::VariantContent,
];

/// The text of a resource as this server sends it; `again` when the page before showed it too.
pub(crate) fn spoil<'w>(behaviour: &Behaviour, id: &str, text: &'w str, again: bool) -> Cow<'w, [u8]> {
    let mut out: Cow<'w, [u8]> = Cow::Borrowed(text.as_bytes());
    let has = |fault| behaviour.has(fault);
    let mark = checksum(0, id);
    if has(Fault::BadFields) && mark.is_multiple_of(BAD_FIELDS_ONE_IN) {
        out = Cow::Owned(bad_fields(text).into_bytes());
    }
    if has(Fault::NoLastUpdated) {
        out = Cow::Owned(stamped(&out, None));
    }
    if has(Fault::ExportStamps) {
        out = Cow::Owned(stamped(&out, Some(EXPORT_STAMP)));
    }
    if has(Fault::VariantContent) && again {
        out = Cow::Owned(insert(&out, br#""language":"en-US","#));
    }
    // Each fault hits resources of its own.
    let insertions: [(Fault, u64, &[u8]); 4] = [
        (Fault::InvalidUtf8, 1, b"\"language\":\"en\xff\","),
        (Fault::LoneSurrogate, 2, br#""language":"en\ud83d","#),
        (Fault::DuplicateKeys, 3, br#""language":"en","language":"fr","#),
        (Fault::BigNumbers, 4, br#""x-amount":123456789012345678901234567890.12345678901234567890,"x-far":1e400,"#),
    ];
    for (fault, place, insertion) in insertions {
        if has(fault) && mark % SPOILT_ONE_IN == place {
            out = Cow::Owned(insert(&out, insertion));
        }
    }
    if has(Fault::MissingId) && mark % SPOILT_ONE_IN == 5 {
        let with_id = format!("\"id\":\"{id}\",");
        out = Cow::Owned(String::from_utf8_lossy(&out).replacen(&with_id, "", 1).into_bytes());
    }
    out
}

/// Puts something right after the opening brace.
fn insert(text: &[u8], insertion: &[u8]) -> Vec<u8> {
    let Some((brace, rest)) = text.split_first() else { return Vec::new() };
    let mut out = Vec::with_capacity(text.len() + insertion.len());
    out.push(*brace);
    out.extend_from_slice(insertion);
    out.extend_from_slice(rest);
    out
}

/// Replaces `meta.lastUpdated`, or takes it out.
fn stamped(text: &[u8], stamp: Option<&str>) -> Vec<u8> {
    let Ok(mut resource) = serde_json::from_slice::<Value>(text) else { return text.to_vec() };
    match stamp {
        Some(stamp) => resource["meta"]["lastUpdated"] = json!(stamp),
        None => {
            if let Some(meta) = resource.get_mut("meta").and_then(Value::as_object_mut) {
                meta.remove("lastUpdated");
            }
        }
    }
    resource.to_string().into_bytes()
}

/// Strings, nulls and objects where they do not belong.
fn bad_fields(text: &str) -> String {
    let Ok(mut resource) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    let kind = resource["resourceType"].as_str().unwrap_or("").to_owned();
    let wrong = match kind.as_str() {
        "Location" => json!({
            "position": {"latitude": "", "longitude": null},
            "address": {"line": [null, "12 Main St", {"not": "a string"}], "city": 7},
        }),
        "Practitioner" => {
            json!({"name": "Smith, John", "address": [{"line": [null], "postalCode": 15201}], "active": "yes"})
        }
        "PractitionerRole" => json!({"specialty": "Cardiology", "telecom": {"value": "none"}, "period": "2024"}),
        "Organization" => json!({"name": ["two", "names"], "telecom": "412-555-0100", "active": null}),
        "HealthcareService" => json!({"appointmentRequired": "sometimes", "category": [null]}),
        _ => json!({"status": {"value": "active"}, "identifier": "none", "period": []}),
    };
    if let (Some(resource), Value::Object(wrong)) = (resource.as_object_mut(), wrong) {
        resource.extend(wrong);
    }
    resource.to_string()
}
