//! The ViewDefinition model (SQL on FHIR v2) and its reader, which tells all mistakes at once.

mod constants;
mod reader;

use std::sync::Arc;

use crate::{
    diagnostics::{Code, Diagnostics, Severity},
    expression::{Expression, Literal},
    plan,
};

/// A view, read but not yet compiled.
#[derive(Debug, Clone)]
pub struct View {
    pub(crate) origin: String,
    pub(crate) source: Arc<str>,
    pub(crate) name: String,
    pub(crate) resource: String,
    pub(crate) description: Option<String>,
    pub(crate) hash: String,
    pub(crate) constants: Vec<Constant>,
    pub(crate) filters: Vec<Path>,
    pub(crate) selects: Vec<Select>,
}

impl View {
    /// Its name, which is its table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The resource type that it reads.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// What its table holds.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// A hash of the view's content, whatever the order of its keys and its white space.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

pub(crate) use constants::VARIABLES;

/// A constant of a view.
#[derive(Debug, Clone)]
pub(crate) struct Constant {
    pub(crate) name: String,
    /// The type in its key: `valuePositiveInt` is a `positiveInt`.
    pub(crate) fhir_type: String,
    /// Nothing where the value could not be read, which has been told.
    pub(crate) literal: Option<Literal>,
    pub(crate) pointer: String,
}

/// An expression of a view: its text, its tree and its place.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) text: String,
    pub(crate) expression: Expression,
    pub(crate) pointer: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Select {
    pub(crate) iteration: Option<Iteration>,
    pub(crate) columns: Vec<Column>,
    pub(crate) selects: Vec<Select>,
    pub(crate) unions: Vec<Select>,
    pub(crate) pointer: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Iteration {
    /// One path, or several of `repeat`.
    pub(crate) paths: Vec<Path>,
    /// `forEachOrNull`.
    pub(crate) or_null: bool,
    /// `repeat`: the paths again from each of their results.
    pub(crate) repeated: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) path: Path,
    pub(crate) fhir_type: Option<String>,
    pub(crate) ansi_type: Option<String>,
    pub(crate) collection: bool,
    pub(crate) description: Option<String>,
    pub(crate) pointer: String,
}

/// Reads a view from its JSON text.
///
/// # Errors
/// Every mistake that can be seen before compiling, with its place.
pub fn parse_view(text: &str, origin: &str) -> Result<View, Diagnostics> {
    let (view, mut list) = reader::read(text, origin);
    match view {
        Some(view) if !Diagnostics::of(origin, text, list.clone()).has_errors() => Ok(view),
        _ => {
            list.retain(|one| one.severity == Severity::Error);
            Err(Diagnostics::of(origin, text, list))
        }
    }
}

/// Everything that is wrong with a view or worth a look: what [`parse_view`] and [`Plan::compile`](crate::Plan::compile)
/// refuse, all at once, and warnings besides.
#[must_use]
pub fn check_view(text: &str, origin: &str) -> Diagnostics {
    let (view, mut list) = reader::read(text, origin);
    if let Some(view) = view {
        // Where columns could not be read, it is no news that there are none.
        let clean = !list.iter().any(|one| one.severity == Severity::Error);
        list.extend(plan::mistakes(&view).into_iter().filter(|one| clean || one.code != Code::NoColumns));
    }
    Diagnostics::of(origin, text, list)
}
