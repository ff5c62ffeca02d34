//! The ViewDefinition model (SQL on FHIR v2) and its reader, which tells all mistakes at once.

use serde_json::{Map, Value};

use crate::{
    diagnostics::{Diagnostic, Diagnostics, Severity, nearest},
    expression::{Expression, Literal, parse},
};

/// Selects within each other; more than any view needs.
const DEEPEST: usize = 32;

/// A view, read but not yet compiled.
#[derive(Debug, Clone)]
pub struct View {
    pub(crate) origin: String,
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

/// A constant of a view.
#[derive(Debug, Clone)]
pub(crate) struct Constant {
    pub(crate) name: String,
    /// The type in its key: `valuePositiveInt` is a `positiveInt`.
    pub(crate) fhir_type: String,
    pub(crate) literal: Literal,
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
    let mut reader = Reader { list: Vec::new() };
    let view = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(map)) => reader.view(&map, origin),
        Ok(_) => {
            reader.error("not-an-object", "", "a view is a JSON object", None);
            None
        }
        Err(error) => {
            reader.error("not-json", "", format!("line {}, column {}: {error}", error.line(), error.column()), None);
            None
        }
    };
    match view {
        Some(view) if reader.list.is_empty() => Ok(view),
        _ => Err(Diagnostics { origin: origin.to_owned(), list: reader.list }),
    }
}

struct Reader {
    list: Vec<Diagnostic>,
}

const VIEW_KEYS: [&str; 6] = ["resource", "name", "select", "where", "constant", "resourceType"];
const SELECT_KEYS: [&str; 7] = ["column", "select", "unionAll", "forEach", "forEachOrNull", "repeat", "comment"];

impl Reader {
    fn error(&mut self, code: &'static str, pointer: &str, message: impl Into<String>, cure: Option<String>) {
        let (pointer, message) = (pointer.to_owned(), message.into());
        self.list.push(Diagnostic { code, severity: Severity::Error, pointer, place: None, message, cure });
    }

    fn view(&mut self, map: &Map<String, Value>, origin: &str) -> Option<View> {
        let kind = map.get("resourceType").and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| kind.rsplit('/').next() != Some("ViewDefinition")) {
            self.error("not-a-view", "/resourceType", format!("this is a {kind}, not a ViewDefinition"), None);
        }
        let resource = self.text(map, "resource", "");
        if resource.is_none() && !map.contains_key("resource") {
            let known: Vec<&str> = VIEW_KEYS.to_vec();
            let stray = map.keys().find(|key| strsim::jaro_winkler(key, "resource") > 0.85);
            let cure = stray.map(|key| format!("`{key}` is there: {}", nearest(key, &known)));
            self.error("missing-resource", "", "`resource` is missing: the resource type that the view reads", cure);
        }
        let name = self.text(map, "name", "").unwrap_or_else(|| "view".to_owned());
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.error(
                "bad-name",
                "/name",
                format!("{name:?} is no name for a table: letters, digits and _ only, a letter first"),
                None,
            );
        }
        let constants = self.constants(map.get("constant"));
        let filters = self.list_of(map, "where", "").into_iter().filter_map(|(pointer, value)| {
            let text = self.required(value, "path", &pointer)?;
            self.path(&text, format!("{pointer}/path"))
        });
        let filters: Vec<Path> = filters.collect();
        let selects = self.selects(map, "select", "", 0);
        if selects.is_empty() && !map.contains_key("select") {
            self.error("missing-select", "", "`select` is missing: a view needs columns", None);
        }
        let canonical = serde_json::to_string(map).unwrap_or_default();
        Some(View {
            origin: origin.to_owned(),
            name,
            resource: resource.unwrap_or_default(),
            description: map.get("description").and_then(Value::as_str).map(ToOwned::to_owned),
            // serde_json keeps keys sorted, so the text is the same for the same view.
            hash: fhirvest_fhir::resource::content_hash(&canonical).map(|hash| format!("{hash:?}")).unwrap_or_default(),
            constants,
            filters,
            selects,
        })
    }

    fn text(&mut self, map: &Map<String, Value>, key: &str, pointer: &str) -> Option<String> {
        match map.get(key)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.error("not-a-string", &format!("{pointer}/{key}"), format!("`{key}` has to be a string"), None);
                None
            }
        }
    }

    fn required(&mut self, value: &Value, key: &str, pointer: &str) -> Option<String> {
        let Some(map) = value.as_object() else {
            self.error("not-an-object", pointer, "an object has to stand here", None);
            return None;
        };
        if !map.contains_key(key) {
            self.error("missing-key", pointer, format!("`{key}` is missing"), None);
        }
        self.text(map, key, pointer)
    }

    fn list_of<'v>(&mut self, map: &'v Map<String, Value>, key: &str, pointer: &str) -> Vec<(String, &'v Value)> {
        match map.get(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => {
                list.iter().enumerate().map(|(place, value)| (format!("{pointer}/{key}/{place}"), value)).collect()
            }
            Some(_) => {
                self.error("not-a-list", &format!("{pointer}/{key}"), format!("`{key}` has to be a list"), None);
                Vec::new()
            }
        }
    }

    fn path(&mut self, text: &str, pointer: String) -> Option<Path> {
        match parse(text) {
            Ok(expression) => Some(Path { text: text.to_owned(), expression, pointer }),
            Err(error) => {
                let place = Some((text.to_owned(), error.span));
                let (severity, message) = (Severity::Error, error.message);
                self.list.push(Diagnostic { code: "bad-path", severity, pointer, place, message, cure: None });
                None
            }
        }
    }

    fn constants(&mut self, list: Option<&Value>) -> Vec<Constant> {
        let mut constants: Vec<Constant> = Vec::new();
        let list = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (place, value) in list.iter().enumerate() {
            let pointer = format!("/constant/{place}");
            let Some(name) = self.required(value, "name", &pointer) else { continue };
            if constants.iter().any(|known| known.name == name) {
                self.error("twice", &pointer, format!("the constant `{name}` is there twice"), None);
            }
            let Some(map) = value.as_object() else { continue };
            let Some((key, value)) = map.iter().find(|(key, _)| key.starts_with("value") && key.len() > 5) else {
                let cure = Some("add valueString, valueInteger, valueBoolean, …".to_owned());
                self.error("missing-key", &pointer, format!("the constant `{name}` has no value"), cure);
                continue;
            };
            let literal = match value {
                Value::Bool(value) => Literal::Boolean(*value),
                Value::Number(number) => Literal::Number(number.to_string()),
                Value::String(text) if key == "valueDecimal" || key.starts_with("valueInteger") => {
                    Literal::Number(text.clone())
                }
                Value::String(text)
                    if matches!(key.as_str(), "valueDate" | "valueDateTime" | "valueInstant" | "valueTime") =>
                {
                    Literal::Temporal(text.clone())
                }
                Value::String(text) => Literal::String(text.clone()),
                _ => {
                    self.error(
                        "bad-constant",
                        &pointer,
                        format!("the constant `{name}` has to be a primitive value"),
                        None,
                    );
                    continue;
                }
            };
            let mut letters = key[5..].chars();
            let first = letters.next().map(|letter| letter.to_ascii_lowercase());
            constants.push(Constant { name, fhir_type: first.into_iter().chain(letters).collect(), literal });
        }
        constants
    }

    fn selects(&mut self, map: &Map<String, Value>, key: &str, pointer: &str, depth: usize) -> Vec<Select> {
        if depth > DEEPEST {
            self.error("too-deep", pointer, format!("more than {DEEPEST} selects within each other"), None);
            return Vec::new();
        }
        let list = self.list_of(map, key, pointer);
        list.into_iter().filter_map(|(pointer, value)| self.select(value, &pointer, depth)).collect()
    }

    fn select(&mut self, value: &Value, pointer: &str, depth: usize) -> Option<Select> {
        let Some(map) = value.as_object() else {
            self.error("not-an-object", pointer, "an object has to stand here", None);
            return None;
        };
        for key in map.keys().filter(|key| !SELECT_KEYS.contains(&key.as_str())) {
            let cure = Some(nearest(key, &SELECT_KEYS));
            self.error("unknown-key", &format!("{pointer}/{key}"), format!("a select has no `{key}`"), cure);
        }
        let mut iteration = None;
        for (key, or_null) in [("forEach", false), ("forEachOrNull", true)] {
            let Some(text) = self.text(map, key, pointer) else { continue };
            if iteration.is_some() {
                self.error("two-iterations", pointer, "forEach and forEachOrNull in one select: keep one", None);
            }
            iteration = self.path(&text, format!("{pointer}/{key}")).map(|path| Iteration {
                paths: vec![path],
                or_null,
                repeated: false,
            });
        }
        if map.contains_key("repeat") {
            if map.contains_key("forEach") || map.contains_key("forEachOrNull") {
                self.error("two-iterations", pointer, "repeat beside forEach or forEachOrNull: keep one", None);
            }
            let mut paths = Vec::new();
            for (pointer, value) in self.list_of(map, "repeat", pointer) {
                match value.as_str() {
                    Some(text) => paths.extend(self.path(text, pointer)),
                    None => self.error("not-a-string", &pointer, "a path has to stand here", None),
                }
            }
            if paths.is_empty() {
                self.error("empty-repeat", &format!("{pointer}/repeat"), "`repeat` needs at least one path", None);
            }
            iteration = Some(Iteration { paths, or_null: false, repeated: true });
        }
        let columns = self.list_of(map, "column", pointer);
        let columns = columns.into_iter().filter_map(|(pointer, value)| self.column(value, pointer)).collect();
        let selects = self.selects(map, "select", pointer, depth + 1);
        let unions = self.selects(map, "unionAll", pointer, depth + 1);
        Some(Select { iteration, columns, selects, unions, pointer: pointer.to_owned() })
    }

    fn column(&mut self, value: &Value, pointer: String) -> Option<Column> {
        let name = self.required(value, "name", &pointer)?;
        let text = self.required(value, "path", &pointer)?;
        let map = value.as_object()?;
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let message = format!("{name:?} is no name for a column: letters, digits and _ only, a letter first");
            self.error("bad-name", &format!("{pointer}/name"), message, None);
        }
        let path = self.path(&text, format!("{pointer}/path"))?;
        let tags = map.get("tag").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let ansi = tags.iter().find(|tag| tag.get("name").and_then(Value::as_str) == Some("ansi/type"));
        let ansi_type = ansi.and_then(|tag| tag.get("value")?.as_str()).map(ToOwned::to_owned);
        let fhir_type = self.text(map, "type", &pointer);
        let fhir_type = fhir_type.map(|name| name.rsplit('/').next().unwrap_or_default().to_owned());
        Some(Column {
            name,
            path,
            fhir_type,
            ansi_type,
            collection: map.get("collection").and_then(Value::as_bool).unwrap_or(false),
            description: map.get("description").and_then(Value::as_str).map(ToOwned::to_owned),
            pointer,
        })
    }
}
