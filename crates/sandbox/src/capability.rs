//! The CapabilityStatement of a mount: true to what the search engine does.

use serde_json::{Value, json};

use crate::search::parameters::{self, Kind};
use crate::world::Mount;

/// `GET /metadata`.
pub(crate) fn statement(mount: &Mount, base: &str, bulk: bool) -> Value {
    let resources: Vec<Value> = mount.types().map(|(kind, _)| resource(mount, kind)).collect();
    let mut rest = json!({
        "mode": "server",
        "resource": resources,
    });
    if bulk {
        rest["operation"] =
            json!([{"name": "export", "definition": "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"}]);
    }
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-01",
        "kind": "instance",
        "software": {"name": "fhirvest sandbox", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": mount.title, "url": base},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [rest],
    })
}

fn resource(mount: &Mount, kind: &str) -> Value {
    let named = parameters::of(kind).map(|parameter| json!({"name": parameter.name, "type": parameter.kind.code()}));
    let everywhere = [("_id", "token"), ("_lastUpdated", "date")];
    let common = everywhere.iter().map(|(name, kind)| json!({"name": name, "type": kind}));
    let includes: Vec<String> = parameters::of(kind)
        .filter(|parameter| parameter.kind == Kind::Reference)
        .map(|parameter| format!("{kind}:{}", parameter.name))
        .collect();
    let reverse: Vec<String> = mount
        .types()
        .flat_map(|(source, _)| parameters::of(source))
        .filter(|parameter| parameter.target() == Some(kind))
        .map(|parameter| format!("{}:{}", parameter.resource, parameter.name))
        .collect();
    json!({
        "type": kind,
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "searchInclude": includes,
        "searchRevInclude": reverse,
        "searchParam": common.chain(named).collect::<Vec<_>>(),
    })
}

/// A CapabilityStatement that names a type that is not there and hides the last one that is.
pub(crate) fn lie(mount: &Mount, base: &str) -> Value {
    let mut statement = statement(mount, base, true);
    if let Some(resources) = statement["rest"][0]["resource"].as_array_mut() {
        resources.pop();
        resources.push(json!({
            "type": "Patient",
            "interaction": [{"code": "search-type"}],
            "searchParam": [{"name": "identifier", "type": "token"}],
        }));
    }
    statement
}
