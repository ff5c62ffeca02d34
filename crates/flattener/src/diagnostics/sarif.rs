//! Mistakes in the form that editors and CI systems read: SARIF 2.1.0.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Code, Diagnostic, Severity};

/// A log of one run, with all codes as its rules. `version` is the program's.
#[must_use]
pub fn sarif<'d>(diagnostics: impl IntoIterator<Item = &'d Diagnostic>, version: &str) -> Value {
    let rules = Code::ALL.iter().map(|code| {
        json!({
            "id": code.name(),
            "shortDescription": {"text": code.summary()},
            "defaultConfiguration": {"level": level(code.severity())},
        })
    });
    let results: Vec<Value> = diagnostics.into_iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "fhirvest", "version": version, "rules": rules.collect::<Vec<_>>()}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    if severity == Severity::Error { "error" } else { "warning" }
}

fn result(one: &Diagnostic) -> Value {
    let mut physical = json!({"artifactLocation": {"uri": uri(&one.origin)}});
    if let Some(region) = one.region {
        physical["region"] = json!({
            "startLine": region.line,
            "startColumn": region.column,
            "endLine": region.end_line,
            "endColumn": region.end_column,
        });
    }
    let mut location = json!({"physicalLocation": physical});
    if !one.pointer.is_empty() {
        location["logicalLocations"] = json!([{"fullyQualifiedName": one.pointer, "kind": "element"}]);
    }
    json!({
        "ruleId": one.code.name(),
        "ruleIndex": Code::ALL.iter().position(|code| *code == one.code),
        "level": level(one.severity),
        "message": {"text": format!("{} ({})", one.message, one.cure)},
        "locations": [location],
    })
}

/// A path as a URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.replace('\\', "/").bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("config/views/my view.json"), "config/views/my%20view.json");
        assert_eq!(uri("a:b#c"), "a%3Ab%23c");
    }
}
