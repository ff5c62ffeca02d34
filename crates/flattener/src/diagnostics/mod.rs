//! What is wrong with a view: every mistake, with its place and its cure.

mod code;
mod sarif;
mod source;

use std::{fmt, ops::Range};

pub use code::Code;
pub use sarif::sarif;
pub(crate) use source::value_at;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// The view cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Error { "error" } else { "warning" })
    }
}

/// A part of a file. Lines and columns count from 1, columns in characters; the end is the place after the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region {
    /// The first line.
    pub line: usize,
    /// Where in it.
    pub column: usize,
    /// The last line.
    pub end_line: usize,
    /// Where in that.
    pub end_column: usize,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, by a name that stays the same.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The file, or another name for where the view is from.
    pub origin: String,
    /// Where in the view (RFC 6901): `/select/0/column/2/path`.
    pub pointer: String,
    /// Where in the file.
    pub region: Option<Region>,
    /// The expression concerned, and the bytes of it that are wrong, where the mistake is in one.
    pub place: Option<(String, Range<usize>)>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub cure: String,
}

impl Diagnostic {
    pub(crate) fn error(
        code: Code,
        pointer: impl Into<String>,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity: Severity::Error,
            origin: String::new(),
            pointer: pointer.into(),
            region: None,
            place: None,
            message: message.into(),
            cure: cure.into(),
        }
    }

    pub(crate) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// The mistake as JSON: `file`, `line`, `column`, `code`, `severity`, `pointer`, `message`, `cure`, and `text` where it is
    /// in an expression.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let text = self.place.as_ref().and_then(|(text, range)| text.get(range.clone()));
        serde_json::json!({
            "file": self.origin,
            "line": self.region.map(|region| region.line),
            "column": self.region.map(|region| region.column),
            "code": self.code.name(),
            "severity": self.severity.to_string(),
            "pointer": self.pointer,
            "text": text,
            "message": self.message,
            "cure": self.cure,
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(region) = self.region {
            write!(f, ":{}:{}", region.line, region.column)?;
        }
        write!(f, ": {}[{}]: {}", self.severity, self.code.name(), self.message)?;
        if !self.pointer.is_empty() {
            write!(f, "\n    at {}", self.pointer)?;
        }
        if let Some((text, range)) = &self.place {
            let before = text.get(..range.start).map_or(0, |text| text.chars().count());
            let length = text.get(range.clone()).map_or(1, |text| text.chars().count()).max(1);
            write!(f, "\n    {text}\n    {}{}", " ".repeat(before), "^".repeat(length))?;
        }
        write!(f, "\n    cure: {}", self.cure)
    }
}

/// The mistakes of views.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics {
    /// All mistakes, in the order of the view.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The mistakes of one view, with their places in its text.
    pub(crate) fn of(origin: &str, text: &str, mut list: Vec<Diagnostic>) -> Self {
        for one in &mut list {
            origin.clone_into(&mut one.origin);
            let span = one.place.as_ref().map(|(_, span)| span.clone());
            one.region = one.region.or_else(|| source::region(text, &one.pointer, span));
        }
        list.sort_by_key(|one| (one.region, one.code));
        list.dedup();
        Self { list }
    }

    /// Whether one of them is an error, so that the view cannot be used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|one| one.severity == Severity::Error)
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, one) in self.list.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            one.fmt(f)?;
        }
        Ok(())
    }
}

/// The nearest of the known names, as advice.
pub(crate) fn nearest(name: &str, known: &[&str]) -> String {
    // Capitals are what is mistaken most often, and should not count for more than a letter.
    let score = |other: &str| {
        strsim::jaro_winkler(name, other).max(strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase()) - 0.01)
    };
    let best = known.iter().map(|other| (score(other), other)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, other)) if score > 0.8 => format!("did you mean `{other}`?"),
        Some(_) if known.len() <= 24 => format!("known: {}", known.join(", ")),
        _ => "none that is known is like it".into(),
    }
}
