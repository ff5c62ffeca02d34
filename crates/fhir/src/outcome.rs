//! OperationOutcome (R4, `OperationOutcome.issue`): what a server has to say about a request, in short.

use serde::Deserialize;

/// The longest text kept of one issue, in characters: enough for a log line, too little for a stack trace.
const LONGEST_TEXT: usize = 300;

/// The first issues of an OperationOutcome.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// At most [`Outcome::MOST`] of them.
    pub issues: Vec<Issue>,
}

/// One issue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Issue {
    /// `fatal`, `error`, `warning` or `information`.
    pub severity: String,
    /// The issue type, e.g. `not-supported`, `too-costly`, `throttled`.
    pub code: String,
    /// `details.text` or `diagnostics`, cut to a few hundred characters.
    pub text: String,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    issue: Vec<RawIssue>,
}

#[derive(Deserialize)]
struct RawIssue {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    diagnostics: Option<String>,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    text: Option<String>,
}

impl Outcome {
    /// Issues kept.
    pub const MOST: usize = 5;

    /// Reads an OperationOutcome; one that does not read as such has no issues.
    #[must_use]
    pub fn read(resource: &str) -> Self {
        let Ok(raw) = serde_json::from_str::<Raw>(resource) else { return Self::default() };
        let issues = raw.issue.into_iter().take(Self::MOST).map(|issue| {
            let text = issue.details.and_then(|details| details.text).or(issue.diagnostics).unwrap_or_default();
            Issue { severity: issue.severity, code: issue.code, text: text.chars().take(LONGEST_TEXT).collect() }
        });
        Self { issues: issues.collect() }
    }

    /// Whether one of the issues is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.issues.iter().any(|issue| matches!(issue.severity.as_str(), "fatal" | "error"))
    }

    /// One line: `too-costly: the search is too costly`.
    #[must_use]
    pub fn summary(&self) -> String {
        let lines = self.issues.iter().map(|issue| match (issue.code.as_str(), issue.text.as_str()) {
            (code, "") => code.to_owned(),
            (code, text) => format!("{code}: {text}"),
        });
        lines.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_are_read_and_cut() {
        let long = "x".repeat(1000);
        let text = format!(
            r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":"error","code":"too-costly","diagnostics":"{long}"}},{{"severity":"warning","details":{{"text":"slow"}}}}]}}"#
        );
        let outcome = Outcome::read(&text);
        assert!(outcome.is_error());
        assert_eq!(outcome.issues[0].text.len(), LONGEST_TEXT);
        assert!(outcome.summary().ends_with("; : slow"));
        assert_eq!(Outcome::read("[]"), Outcome::default());
    }
}
