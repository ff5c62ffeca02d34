//! Expected errors: what happened and why, from the outermost to the innermost cause, and the exit code.

use std::error::Error;

use fhirvest_jobs::{
    config::ConfigError,
    run::{Exit, RunError},
};

/// An error on its way to the user.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    lines: Vec<String>,
}

impl Failure {
    /// An error of the user's making.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, lines: vec![message.into()] }
    }

    /// Something that the server, or the person at the browser, has to say yes to.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, lines: vec![message.into()] }
    }

    /// An error with its causes.
    pub(crate) fn new(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        let mut lines = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // A transparent wrapper says what it wraps: once is enough.
            if lines.last() != Some(&text) {
                lines.push(text);
            }
            cause = error.source();
        }
        Self { exit, lines }
    }

    /// Reading or writing `what` failed.
    pub(crate) fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self { exit: Exit::Storage, lines: vec![what.to_string(), error.to_string()] }
    }

    /// The text for standard error.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {}", self.lines.first().map_or("", String::as_str));
        for cause in self.lines.iter().skip(1) {
            text.push_str("\n  because: ");
            text.push_str(&cause.replace('\n', "\n    "));
        }
        if self.exit == Exit::Bug {
            text.push_str("\nThis is a bug in fhirvest: please report it with the text above.");
        }
        text
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        if let RunError::Views(fhirvest_jobs::views::ViewsError::Invalid { diagnostics }) = &error {
            let lines = diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            return Self { exit: Exit::Usage, lines: vec![format!("{error}\n{lines}")] };
        }
        Self::new(error.exit(), &error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, &error)
    }
}
