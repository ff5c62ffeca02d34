use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::*;
use crate::run::Traffic;

/// A report in which every free text is `text`: what a server said, what failed, where it was asked.
fn report(text: &str, status: u16) -> RunReport {
    let at: DateTime<Utc> = "2026-05-01T12:00:00Z".parse().unwrap();
    let base = url::Url::parse("https://fhir.acme.example/").unwrap().join(&format!("{text}/r4")).unwrap();
    let mut traffic = Traffic::default();
    traffic.answers.push(crate::run::Answer {
        resource_type: Some("Patient".into()),
        status: Some(status),
        count: 3,
        first_at: at,
        last_at: at,
    });
    serde_json::from_value(serde_json::json!({
        "run": "20260501T120000Z-members", "job": "members", "api": "highmark/patient-access",
        "source": "highmark-patient-access", "environment": "qa", "base_url": base.to_string(), "lake": text,
        "resumed": false, "started_at": at, "finished_at": at, "seconds": 1.0, "exit_code": 3,
        "resources": [{
            "resource_type": "Patient", "strategy": text, "status": "refused", "ended_by": "refused",
            "partition_closed": true, "partitions": 1, "pages": 0,
            "counts": {"received": 0, "archived": 0, "duplicates": 0, "variants": 0, "quarantined": 0},
            "server_total": null, "coverage": null, "unavailable": false, "detail": text,
        }],
        "tables": [],
        "failures": [{"resource_type": "Patient", "line": 7, "table": "patient", "message": text}],
        "traffic": traffic, "retry_not_before": null, "next_step": text,
    }))
    .unwrap()
}

proptest! {
    #[test]
    fn support_says_nothing_that_a_server_said(name in "[A-Z][a-z]{5,12}Q[a-z]{4,9}", number in "[0-9]{9,12}") {
        let said = format!("{name}-{number}");
        let text = support(&report(&said, 403));
        prop_assert!(!text.contains(&name) && !text.contains(&number), "{}", text);
        for part in ["test (qa)", "highmark/patient-access", "Patient", "403, Forbidden", "2026-05-01 12:00:00 UTC"] {
            prop_assert!(text.contains(part), "{}: {}", part, text);
        }
    }
}

#[test]
fn texts_of_a_server_are_escaped() {
    let run = report("<script>alert(1)</script>", 500);
    let document = Document { run, history: Vec::new(), quality: Quality::default(), fhirvest_version: "0" };
    let page = html(&document);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
}
