//! What is wrong with a view: every mistake, with its place and its cure.

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// The view cannot be used.
    Error,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A short name that stays the same: `unknown-function`, `several-branches-differ`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where in the view (RFC 6901): `/select/0/column/2/path`.
    pub pointer: String,
    /// The text concerned, and the bytes of it that are wrong, where the mistake is in an expression.
    pub place: Option<(String, std::ops::Range<usize>)>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub cure: Option<String>,
}

/// The mistakes of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    /// The file, or another name for where the view is from.
    pub origin: String,
    /// All mistakes, in the order of the view.
    pub list: Vec<Diagnostic>,
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, one) in self.list.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            let severity = if one.severity == Severity::Error { "error" } else { "warning" };
            write!(f, "{}{}: {severity}[{}]: {}", self.origin, one.pointer, one.code, one.message)?;
            if let Some((text, range)) = &one.place {
                let before = text.get(..range.start).map_or(0, |text| text.chars().count());
                let length = text.get(range.clone()).map_or(1, |text| text.chars().count()).max(1);
                write!(f, "\n    {text}\n    {}{}", " ".repeat(before), "^".repeat(length))?;
            }
            if let Some(cure) = &one.cure {
                write!(f, "\n    {cure}")?;
            }
        }
        Ok(())
    }
}

/// The nearest of the known names, as advice.
pub(crate) fn nearest(name: &str, known: &[&str]) -> String {
    let best = known.iter().map(|other| (strsim::jaro_winkler(name, other), other)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, other)) if score > 0.8 => format!("did you mean `{other}`?"),
        _ => format!("known: {}", known.join(", ")),
    }
}
