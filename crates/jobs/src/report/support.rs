//! What a publisher's help desk asks for. Only words of this program, of HTTP and of FHIR's list of resource types are in
//! it, and numbers and times: nothing that a server said, so nothing of a member, a token or an identifier.

use std::fmt::Write;

use fhirvest_crawler::ending::Status;

use super::time;
use crate::run::{Answer, RunReport};

/// The text about a run.
#[must_use]
pub fn support(report: &RunReport) -> String {
    let mut text = String::new();
    let environment = match report.environment.as_str() {
        "production" => "production".to_owned(),
        other => format!("test ({other})"),
    };
    let types: Vec<&str> = report.resources.iter().map(|one| one.resource_type.as_str()).collect();
    let _ = writeln!(text, "Environment:   {environment}");
    let _ = writeln!(text, "API:           {}", report.api.as_deref().unwrap_or(&report.source));
    let _ = writeln!(text, "Base URL:      {}", origin(&report.base_url));
    let _ = writeln!(text, "Resources:     {}", types.join(", "));
    let _ = writeln!(text, "Date and time: {} to {}", time(report.started_at), time(report.finished_at));
    let _ = writeln!(text, "Client:        fhirvest {}", env!("CARGO_PKG_VERSION"));
    let answers = report.traffic.as_ref().map(|traffic| traffic.answers.as_slice()).unwrap_or_default();
    let bad: Vec<&Answer> = answers.iter().filter(|one| !matches!(one.status, Some(200..=399))).collect();
    text.push_str("\nAnswers that were no success:\n");
    if bad.is_empty() {
        text.push_str("  none\n");
    }
    for one in bad {
        let (code, message) = match one.status {
            Some(status) => (status.to_string(), phrase(status)),
            None => ("none".to_owned(), "no answer, or one that broke off"),
        };
        let what = one.resource_type.as_deref().unwrap_or("not a resource (token, export)");
        let _ = writeln!(
            text,
            "  {what}: response code {code}, {message}; {} time(s), first {}, last {}",
            one.count,
            time(one.first_at),
            time(one.last_at)
        );
    }
    text.push_str("\nWhat it came to:\n");
    for one in &report.resources {
        let ended_by = one.ended_by.map(|ended_by| format!(", ended by {ended_by}")).unwrap_or_default();
        let total = one.server_total.map(|total| format!("; the server counts {total}")).unwrap_or_default();
        let come = if one.status == Status::Unsupported { 0 } else { one.counts.archived };
        let _ = writeln!(
            text,
            "  {}: {}{ended_by}; {} page(s), {come} resource(s) received{total}",
            one.resource_type, one.status, one.pages
        );
    }
    text
}

/// The scheme and host of an address: its path may hold a tenant or a member.
fn origin(address: &str) -> String {
    match url::Url::parse(address) {
        Ok(url) => url.origin().ascii_serialization(),
        Err(_) => "unknown".to_owned(),
    }
}

/// HTTP's own words for a code.
fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        422 => "Unprocessable Content",
        423 => "Locked",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        other if (400..500).contains(&other) => "another refusal",
        other if other >= 500 => "another failure of the server",
        _ => "no status of HTTP",
    }
}
