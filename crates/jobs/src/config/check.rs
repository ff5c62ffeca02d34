//! A TOML file against the JSON Schema of its kind: every unknown key, wrong type and value out of range at once, each
//! with its place in the file.

use std::{fmt, ops::Range};

use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One mistake in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as the user would name it; or the variable or flag.
    pub file: String,
    /// Line, from 1; 0 where it is no file.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The bytes concerned, in the file's text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message)?,
        }
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

/// Checks the text of a file against a schema made by `schemars`. Keys that the schema requires may be missing: a file
/// is one layer of several.
#[must_use]
pub(super) fn check(file: &str, text: &str, schema: &Value) -> Vec<Mistake> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut checker = Checker { file, text, root: schema, mistakes: Vec::new() };
    for error in errors {
        checker.report(error.span().unwrap_or(0..0), error.message().to_owned(), None);
    }
    if checker.mistakes.is_empty() {
        checker.table(table.get_ref(), schema, "");
    }
    checker.mistakes.sort_by_key(|mistake| mistake.span.start);
    checker.mistakes
}

struct Checker<'a> {
    file: &'a str,
    text: &'a str,
    root: &'a Value,
    mistakes: Vec<Mistake>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        let (line, column) = position(self.text, span.start);
        self.mistakes.push(Mistake { file: self.file.to_owned(), line, column, span, message, help });
    }

    fn table(&mut self, table: &DeTable<'_>, schema: &'a Value, path: &str) {
        let schema = self.resolve(schema);
        if let Some(branches) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
            self.one_of(table, branches, path);
            return;
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (key, value) in table {
            let at = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            if let Some(property) = properties.and_then(|known| known.get(key.get_ref().as_ref())) {
                self.value(value, property, &at);
            } else if let Some(other @ Value::Object(_)) = others {
                if let Some(format) = schema.pointer("/propertyNames/format").and_then(Value::as_str) {
                    self.format(key.span(), key.get_ref(), format, &at);
                }
                self.value(value, other, &at);
            } else {
                let help = nearest(key.get_ref(), properties.into_iter().flat_map(Map::keys).map(String::as_str));
                self.report(key.span(), format!("unknown key `{at}`"), Some(help));
            }
        }
    }

    /// A choice between tables: by the value of its tag (`kind`), else by its only key (`env`, `file`, `command`).
    fn one_of(&mut self, table: &DeTable<'_>, branches: &'a [Value], path: &str) {
        let mut there = branches.iter().filter(|branch| branch.get("type") != Some(&Value::from("null")));
        if let (Some(only), None) = (there.next(), there.next()) {
            // A key that may be missing: its schema stands beside that of null.
            return self.table(table, only, path);
        }
        let mut tags = Vec::new();
        for branch in branches {
            let branch = self.resolve(branch);
            let Some(properties) = branch.get("properties").and_then(Value::as_object) else { continue };
            let tag = properties.iter().find_map(|(key, value)| Some((key, value.get("const")?.as_str()?)));
            let Some((key, tag)) = tag else {
                if properties.keys().any(|key| table.get(key.as_str()).is_some()) {
                    return self.table(table, branch, path);
                }
                tags.extend(properties.keys().cloned());
                continue;
            };
            if table.get(key.as_str()).and_then(|value| value.get_ref().as_str()) == Some(tag) {
                return self.table(table, branch, path);
            }
            tags.push(format!("{key} = \"{tag}\""));
        }
        let span = table.iter().next().map_or(0..0, |(key, _)| key.span());
        self.report(
            span,
            format!("`{path}` is none of the kinds there are"),
            Some(format!("use {}", tags.join(" or "))),
        );
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &'a Value, path: &str) {
        let schema = self.resolve(schema);
        if let DeValue::Table(table) = value.get_ref()
            && (allows(schema, "object") || schema.get("oneOf").is_some() || schema.get("anyOf").is_some())
        {
            return self.table(table, schema, path);
        }
        if let Some(names) = names_of(schema) {
            return self.name(value, &names, path);
        }
        if let (DeValue::String(_), true) = (value.get_ref(), is_reference_to_secret(schema)) {
            let message = format!("`{path}` is a text, but a secret is never written into a file");
            let help = "say where it is: { env = \"NAME\" }, { file = \"/path\" } or { command = [\"program\"] }";
            return self.report(value.span(), message, Some(help.to_owned()));
        }
        if let Some(branches) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array)
            && let Some(branch) = branches.iter().find(|branch| branch.get("type") != Some(&Value::from("null")))
        {
            return self.value(value, branch, path);
        }
        let found = value.get_ref().type_str();
        let fits = match value.get_ref() {
            DeValue::String(_) => allows(schema, "string"),
            DeValue::Integer(_) => allows(schema, "integer") || allows(schema, "number"),
            DeValue::Float(_) => allows(schema, "number"),
            DeValue::Boolean(_) => allows(schema, "boolean"),
            DeValue::Array(_) => allows(schema, "array"),
            DeValue::Table(_) => allows(schema, "object"),
            DeValue::Datetime(_) => false,
        };
        if !fits {
            let wanted = wanted(schema);
            self.report(value.span(), format!("`{path}` is {} {found}, but has to be {wanted}", article(found)), None);
            return;
        }
        if let (DeValue::Array(items), Some(item)) = (value.get_ref(), schema.get("items")) {
            for (index, element) in items.iter().enumerate() {
                self.value(element, item, &format!("{path}[{index}]"));
            }
        }
        if let (DeValue::String(text), Some(format)) = (value.get_ref(), schema.get("format").and_then(Value::as_str)) {
            self.format(value.span(), text, format, path);
        }
        self.range(value, schema, path);
    }

    /// A text that has to have a form of its own.
    fn format(&mut self, span: Range<usize>, text: &str, format: &str, path: &str) {
        if let Err(wrong) = super::format::check(format, text) {
            self.report(span, format!("`{path}`: {}", wrong.message), wrong.help);
        }
    }

    fn name(&mut self, value: &Spanned<DeValue<'_>>, names: &[String], path: &str) {
        match value.get_ref().as_str() {
            Some(text) if names.iter().any(|name| name == text) => {}
            Some(text) => {
                let help = nearest(text, names.iter().map(String::as_str));
                self.report(value.span(), format!("`{path}` can't be {text:?}"), Some(help));
            }
            None => {
                let found = value.get_ref().type_str();
                let message =
                    format!("`{path}` is {} {found}, but has to be one of {}", article(found), names.join(", "));
                self.report(value.span(), message, None);
            }
        }
    }

    fn range(&mut self, value: &Spanned<DeValue<'_>>, schema: &Value, path: &str) {
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().replace('_', "").parse::<f64>().ok(),
            DeValue::Float(number) => number.as_str().replace('_', "").parse::<f64>().ok(),
            _ => None,
        };
        let Some(number) = number else { return };
        let least = schema.get("minimum").and_then(Value::as_f64);
        let most = schema.get("maximum").and_then(Value::as_f64);
        if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) || number.is_nan() {
            let bounds = match (least, most) {
                (Some(least), Some(most)) => format!("between {least} and {most}"),
                (Some(least), None) => format!("{least} or more"),
                (_, most) => format!("{} or less", most.unwrap_or_default()),
            };
            self.report(value.span(), format!("`{path}` is {number}, but has to be {bounds}"), None);
        }
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let root = self.root;
        let reference = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
        reference.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
    }
}

/// The names a schema allows, if it allows names only: `enum`, or `oneOf` with a `const` each.
fn names_of(schema: &Value) -> Option<Vec<String>> {
    if let Some(names) = schema.get("enum").and_then(Value::as_array) {
        return names.iter().map(|name| name.as_str().map(ToOwned::to_owned)).collect();
    }
    let branches = schema.get("oneOf")?.as_array()?;
    branches.iter().map(|branch| branch.get("const")?.as_str().map(ToOwned::to_owned)).collect()
}

/// Whether a schema is that of [`super::SecretRef`]: a choice between the places where a secret may be.
fn is_reference_to_secret(schema: &Value) -> bool {
    let branches = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array);
    let has = |key: &str| {
        let at = format!("/properties/{key}");
        branches.is_some_and(|branches| branches.iter().any(|branch| branch.pointer(&at).is_some()))
    };
    has("env") && has("file") && has("command")
}

fn allows(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(several)) => several.iter().any(|one| one == name),
        _ => schema.get("properties").is_some() && name == "object",
    }
}

fn wanted(schema: &Value) -> String {
    let name = |text: &str| match text {
        "object" => "a table".to_owned(),
        "array" => "a list".to_owned(),
        "integer" => "a whole number".to_owned(),
        other => format!("{} {other}", article(other)),
    };
    let mut wanted = match schema.get("type") {
        Some(Value::String(only)) => name(only),
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .filter(|one| *one != "null")
            .map(name)
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "a table".to_owned(),
    };
    if let Some(example) = schema.get("examples").and_then(|list| list.get(0)) {
        wanted.push_str(&format!(", as in {example}"));
    }
    wanted
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// Names that are too many to be listed.
const MANY: usize = 40;

/// The nearest of the known names, or all of them where none is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let best = known.iter().map(|other| (strsim::jaro_winkler(name, other), other)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, other)) if score > 0.8 => format!("did you mean `{other}`?"),
        // Who wants to read a hundred names?
        Some((_, other)) if known.len() > MANY => format!("the nearest of {} is `{other}`", known.len()),
        Some(_) => format!("known here: {}", known.join(", ")),
        None => "no key is known here".to_owned(),
    }
}

/// Line and column, both from 1, of a byte offset.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn mistakes(text: &str) -> Vec<String> {
        let schema = serde_json::to_value(schemars::schema_for!(Settings)).unwrap();
        check("job.toml", text, &schema).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_has_none() {
        let job = include_str!("../../../../jobs/provider-directory.toml");
        assert_eq!(mistakes(job), Vec::<String>::new());
        assert_eq!(mistakes(include_str!("../../../../config/default.toml")), Vec::<String>::new());
        assert_eq!(
            mistakes(
                "[source]\nname='a'\nbase_url='https://x.example'\nauth = { kind = 'api-key', header='h', key = { env = 'K' } }"
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn all_mistakes_come_at_once_in_the_order_of_the_file() {
        let text = "version = \"1\"\nshedule = \"1 2 * * *\"\nmin_coverage = 2\nrefresh = \"ful\"\n[rate]\nburts = 1\nburst = 0\n[resources.Basic]\npage_size = 'big'\n[source]\nauth = { kind = 'api-kei' }\n[limits]\nmax_wait = 3\n";
        let found = mistakes(text);
        insta::assert_snapshot!(found.join("\n"), @r#"
        job.toml:1:11: `version` is a string, but has to be a whole number
        job.toml:2:1: unknown key `shedule` (did you mean `schedule`?)
        job.toml:3:16: `min_coverage` is 2, but has to be between 0 and 1
        job.toml:4:11: `refresh` can't be "ful" (did you mean `full`?)
        job.toml:6:1: unknown key `rate.burts` (did you mean `burst`?)
        job.toml:7:9: `rate.burst` is 0, but has to be 1 or more
        job.toml:9:13: `resources.Basic.page_size` is a string, but has to be a whole number
        job.toml:11:10: `source.auth` is none of the kinds there are (use kind = "none" or kind = "api-key" or kind = "bearer" or kind = "basic" or kind = "oauth-code" or kind = "client-credentials" or kind = "smart-backend")
        job.toml:13:12: `limits.max_wait` is an integer, but has to be a string, as in "15m"
        "#);
    }

    #[test]
    fn broken_toml_is_told_with_its_place() {
        let found = mistakes("version = 1\nname = \n");
        assert!(found[0].starts_with("job.toml:2:"), "{found:?}");
    }
}
