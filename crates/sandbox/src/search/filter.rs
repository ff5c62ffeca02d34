//! One condition of a search and how a resource meets it.

use super::index::TermIndex;
use super::instant::DateTest;
use super::parameters::{self, Kind, Parameter};
use super::query::BadQuery;
use super::terms;
use crate::world::table::{NEVER, ResourceTable};

/// How a text is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextMode {
    Starts,
    Exact,
    Contains,
}

/// One search parameter with its values; the values are alternatives, several filters must all hold.
#[derive(Debug, Clone)]
pub(crate) enum Filter {
    Ids(Vec<String>),
    Updated(Vec<DateTest>),
    Terms { parameter: &'static Parameter, any: Vec<String> },
    Text { parameter: &'static Parameter, mode: TextMode, any: Vec<String> },
    Dates { parameter: &'static Parameter, any: Vec<DateTest> },
    Missing { parameter: &'static Parameter, missing: bool },
}

impl Filter {
    /// Reads `name[:modifier]=value`; `None` when the type has no such parameter.
    pub(crate) fn parse(resource: &str, base: &str, name: &str, value: &str) -> Result<Option<Self>, BadQuery> {
        let (name, modifier) = match name.split_once(':') {
            Some((name, modifier)) => (name, Some(modifier)),
            None => (name, None),
        };
        match (name, modifier) {
            ("_id", None) => return Ok(Some(Self::Ids(alternatives(value)))),
            ("_lastUpdated", None) => return Ok(Some(Self::Updated(dates(name, value)?))),
            _ => {}
        }
        let Some(parameter) = parameters::find(resource, name) else { return Ok(None) };
        if let Some("missing") = modifier {
            let missing = match value {
                "true" => true,
                "false" => false,
                _ => return Err(BadQuery(format!("{name}:missing must be true or false, not {value}"))),
            };
            return Ok(Some(Self::Missing { parameter, missing }));
        }
        match (parameter.kind, modifier) {
            (Kind::Text, None | Some("exact" | "contains")) => {
                let mode = match modifier {
                    Some("exact") => TextMode::Exact,
                    Some("contains") => TextMode::Contains,
                    _ => TextMode::Starts,
                };
                let any = alternatives(value);
                let any = match mode {
                    TextMode::Exact => any,
                    TextMode::Starts | TextMode::Contains => any.iter().map(|text| text.to_lowercase()).collect(),
                };
                Ok(Some(Self::Text { parameter, mode, any }))
            }
            (Kind::Token, None) => Ok(Some(Self::Terms { parameter, any: alternatives(value) })),
            (Kind::Reference, modifier) => {
                let any = alternatives(value).iter().map(|text| reference_term(base, modifier, text)).collect();
                Ok(Some(Self::Terms { parameter, any }))
            }
            (Kind::Date, None) => Ok(Some(Self::Dates { parameter, any: dates(name, value)? })),
            (_, Some(modifier)) => Err(BadQuery(format!("modifier :{modifier} is not supported on {name}"))),
        }
    }

    /// The rows that may pass, sorted, when that can be told without reading the resources.
    pub(crate) fn candidates(&self, table: &ResourceTable) -> Option<Vec<u32>> {
        let mut rows = Vec::new();
        match self {
            Self::Ids(ids) => rows.extend(ids.iter().filter_map(|id| table.find(id))),
            Self::Terms { parameter, any } => {
                let index: &TermIndex = table.index(parameter)?;
                any.iter().for_each(|term| index.candidates(term, &mut rows));
            }
            Self::Updated(_) | Self::Text { .. } | Self::Dates { .. } | Self::Missing { .. } => return None,
        }
        rows.sort_unstable();
        rows.dedup();
        Some(rows)
    }

    /// Whether a row passes.
    pub(crate) fn holds(&self, table: &ResourceTable, row: u32) -> bool {
        let text = table.text(row);
        let mut held = false;
        match self {
            Self::Ids(ids) => held = ids.iter().any(|id| id == table.id(row)),
            Self::Updated(tests) => {
                let at = table.updated(row);
                held = at != NEVER && tests.iter().any(|test| test.holds_at(at));
            }
            Self::Terms { parameter, any } => {
                terms::terms(text, parameter, &mut |term| held |= any.iter().any(|wanted| wanted == term));
            }
            Self::Text { parameter, mode, any } => {
                terms::parts(text, parameter, &mut |part| held |= any.iter().any(|wanted| mode.holds(part, wanted)));
            }
            Self::Dates { parameter, any } => {
                terms::ranges(text, parameter, &mut |range| held |= any.iter().any(|test| test.holds(range)));
            }
            Self::Missing { parameter, missing } => {
                let mut present = false;
                for path in parameter.paths {
                    super::path::walk(text, path, &mut |_| present = true);
                }
                held = present != *missing;
            }
        }
        held
    }
}

impl TextMode {
    fn holds(self, part: &str, wanted: &str) -> bool {
        match self {
            Self::Starts => part.to_lowercase().starts_with(wanted),
            Self::Exact => part == wanted,
            Self::Contains => part.to_lowercase().contains(wanted),
        }
    }
}

/// Splits at commas; `\,` is a comma within a value.
fn alternatives(value: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            ',' => all.push(String::new()),
            '\\' => {
                let escaped = characters.next().unwrap_or('\\');
                all.last_mut().into_iter().for_each(|last| last.push(escaped));
            }
            other => all.last_mut().into_iter().for_each(|last| last.push(other)),
        }
    }
    all.retain(|one| !one.is_empty());
    all
}

fn dates(name: &str, value: &str) -> Result<Vec<DateTest>, BadQuery> {
    alternatives(value)
        .iter()
        .map(|text| DateTest::parse(text).ok_or_else(|| BadQuery(format!("{name}: {text} is not a date"))))
        .collect()
}

fn reference_term(base: &str, modifier: Option<&str>, text: &str) -> String {
    let text = terms::unversioned(text);
    let relative = text.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
    match modifier {
        Some(kind) if !relative.contains('/') => format!("{kind}/{relative}"),
        _ => relative.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_part_values_unless_escaped() {
        assert_eq!(alternatives("a,b"), ["a", "b"]);
        assert_eq!(alternatives(r"a\,b,,c"), ["a,b", "c"]);
        assert_eq!(alternatives(""), [""; 0]);
    }

    #[test]
    fn references_are_compared_without_base_and_version() {
        for (modifier, text, expected) in [
            (None, "x", "x"),
            (None, "Practitioner/x", "Practitioner/x"),
            (None, "http://h/fhir/Practitioner/x/_history/3", "Practitioner/x"),
            (None, "http://other/fhir/Practitioner/x", "http://other/fhir/Practitioner/x"),
            (Some("Practitioner"), "x", "Practitioner/x"),
        ] {
            assert_eq!(reference_term("http://h/fhir", modifier, text), expected, "{text}");
        }
    }
}
