//! From JSON to a view, with all mistakes at once.

use std::ops::Range;

use fhirvest_fhir::elements;
use serde_json::{Map, Value};

use super::{Column, Iteration, Path, Select, View, constants::VARIABLES};
use crate::{
    diagnostics::{Code, Diagnostic, nearest},
    expression::{Expression, Kind, parse},
};

/// Selects within each other; more than any view needs.
const DEEPEST: usize = 32;

/// The elements of a ViewDefinition, with those of every canonical resource.
const VIEW_KEYS: [&str; 34] = [
    "resource",
    "name",
    "select",
    "where",
    "constant",
    "resourceType",
    "$schema",
    "id",
    "meta",
    "implicitRules",
    "language",
    "text",
    "contained",
    "url",
    "identifier",
    "version",
    "versionAlgorithmString",
    "versionAlgorithmCoding",
    "title",
    "status",
    "experimental",
    "date",
    "publisher",
    "contact",
    "description",
    "useContext",
    "jurisdiction",
    "purpose",
    "copyright",
    "copyrightLabel",
    "fhirVersion",
    "profile",
    "extension",
    "modifierExtension",
];
const SELECT_KEYS: [&str; 10] = [
    "column",
    "select",
    "unionAll",
    "forEach",
    "forEachOrNull",
    "repeat",
    "comment",
    "id",
    "extension",
    "modifierExtension",
];
const COLUMN_KEYS: [&str; 9] =
    ["path", "name", "type", "collection", "description", "tag", "id", "extension", "modifierExtension"];
const WHERE_KEYS: [&str; 5] = ["path", "description", "id", "extension", "modifierExtension"];
const TAG_KEYS: [&str; 5] = ["name", "value", "id", "extension", "modifierExtension"];
pub(super) const NAME_RULE: &str = "letters, digits and _ only, a letter first";

/// What could be read of a view, and what is wrong with it.
pub(super) fn read(text: &str, origin: &str) -> (Option<View>, Vec<Diagnostic>) {
    let mut reader = Reader { text, list: Vec::new() };
    let view = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(map)) => reader.view(&map, origin),
        Ok(_) => {
            reader.error(Code::NotAnObject, "", "a view is a JSON object", "put it in braces: {\"resource\": …}");
            None
        }
        Err(error) => {
            let (line, column) = (error.line().max(1), error.column().max(1));
            let region = crate::diagnostics::Region { line, column, end_line: line, end_column: column + 1 };
            let told = error.to_string();
            let told = told.rsplit_once(" at line ").map_or(told.as_str(), |(message, _)| message);
            let message = format!("this is no JSON: {told}");
            let mistake = Diagnostic::error(Code::NotJson, "", message, "mend the JSON there, or just before");
            reader.list.push(Diagnostic { region: Some(region), ..mistake });
            None
        }
    };
    (view, reader.list)
}

pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) list: Vec<Diagnostic>,
}

impl Reader<'_> {
    pub(super) fn error(&mut self, code: Code, pointer: &str, message: impl Into<String>, cure: impl Into<String>) {
        self.list.push(Diagnostic::error(code, pointer, message, cure));
    }

    pub(super) fn warn(&mut self, code: Code, pointer: &str, message: impl Into<String>, cure: impl Into<String>) {
        self.list.push(Diagnostic::error(code, pointer, message, cure).warning());
    }

    fn view(&mut self, map: &Map<String, Value>, origin: &str) -> Option<View> {
        let kind = map.get("resourceType").and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| kind.rsplit('/').next() != Some("ViewDefinition")) {
            let message = format!("this is a {kind}, not a ViewDefinition");
            self.error(Code::NotAView, "/resourceType", message, "give a ViewDefinition, or leave `resourceType` out");
            return None;
        }
        self.unknown_keys(map, &VIEW_KEYS, "", "a view");
        let resource = self.resource(map);
        let name = match self.string(map, "name", "") {
            Some(name) => name,
            None => {
                if !map.contains_key("name") {
                    self.warn(Code::MissingName, "", "the view has no name: its table is called `view`", "add `name`");
                }
                "view".to_owned()
            }
        };
        self.name(&name, "/name", "a table");
        let constants = self.constants(map.get("constant"));
        let filters = self.list_of(map, "where", "").into_iter().filter_map(|(pointer, value)| {
            let text = self.required(value, "path", &pointer)?;
            self.unknown_keys(value.as_object()?, &WHERE_KEYS, &pointer, "a condition");
            self.path(&text, format!("{pointer}/path"))
        });
        let filters: Vec<Path> = filters.collect();
        let selects = self.selects(map, "select", "", 0);
        if map.get("select").is_none_or(|select| select.as_array().is_some_and(Vec::is_empty)) {
            let cure = "add one: [{\"column\": [{\"name\": \"id\", \"path\": \"getResourceKey()\"}]}]";
            self.error(Code::MissingSelect, "", "`select` is missing or empty: a view needs columns", cure);
        }
        let canonical = serde_json::to_string(map).unwrap_or_default();
        let view = View {
            origin: origin.to_owned(),
            source: self.text.into(),
            name,
            resource: resource.unwrap_or_default(),
            description: map.get("description").and_then(Value::as_str).map(ToOwned::to_owned),
            // serde_json keeps keys sorted, so the text is the same for the same view.
            hash: fhirvest_fhir::resource::content_hash(&canonical).map(|hash| format!("{hash:?}")).unwrap_or_default(),
            constants,
            filters,
            selects,
        };
        self.unused_constants(&view);
        Some(view)
    }

    fn resource(&mut self, map: &Map<String, Value>) -> Option<String> {
        let Some(resource) = self.string(map, "resource", "") else {
            if !map.contains_key("resource") {
                let stray =
                    map.keys().find(|key| strsim::jaro_winkler(key, "resource") > 0.85 && *key != "resourceType");
                let cure = match stray {
                    Some(key) => format!("`{key}` is there: did you mean `resource`?"),
                    None => "add it: \"resource\": \"Patient\"".to_owned(),
                };
                self.error(Code::MissingResource, "", "`resource` is missing: the type that the view reads", cure);
            }
            return None;
        };
        if !elements::is_resource(&resource) {
            let known: Vec<&str> = elements::resources().collect();
            let message = format!("R4 has no resource type `{resource}`");
            self.warn(Code::UnknownResource, "/resource", message, nearest(&resource, &known));
        }
        Some(resource)
    }

    /// Keys that nothing reads. In a select they are errors: a misspelled `forEach` gives other rows.
    fn unknown_keys(&mut self, map: &Map<String, Value>, known: &[&str], pointer: &str, what: &str) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str()) && !key.starts_with('_')) {
            let at = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
            let mistake =
                Diagnostic::error(Code::UnknownKey, at, format!("{what} has no `{key}`"), nearest(key, known));
            self.list.push(if what == "a select" { mistake } else { mistake.warning() });
        }
    }

    pub(super) fn name(&mut self, name: &str, pointer: &str, what: &str) {
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let message = format!("{name:?} is no name for {what}: {NAME_RULE}");
            let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            let clean = if begins { clean } else { format!("c_{clean}") };
            self.error(Code::BadName, pointer, message, format!("call it `{clean}`"));
        }
    }

    fn string(&mut self, map: &Map<String, Value>, key: &str, pointer: &str) -> Option<String> {
        match map.get(key)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                let message = format!("`{key}` has to be a string");
                self.error(Code::NotAString, &format!("{pointer}/{key}"), message, "put it in quotes");
                None
            }
        }
    }

    pub(super) fn required(&mut self, value: &Value, key: &str, pointer: &str) -> Option<String> {
        let map = self.object(value, pointer)?;
        if !map.contains_key(key) {
            self.error(Code::MissingKey, pointer, format!("`{key}` is missing"), format!("add `{key}`"));
        }
        self.string(map, key, pointer)
    }

    fn object<'v>(&mut self, value: &'v Value, pointer: &str) -> Option<&'v Map<String, Value>> {
        let map = value.as_object();
        if map.is_none() {
            self.error(Code::NotAnObject, pointer, "an object has to stand here", "write {\"path\": …}");
        }
        map
    }

    fn list_of<'v>(&mut self, map: &'v Map<String, Value>, key: &str, pointer: &str) -> Vec<(String, &'v Value)> {
        match map.get(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => {
                list.iter().enumerate().map(|(place, value)| (format!("{pointer}/{key}/{place}"), value)).collect()
            }
            Some(_) => {
                let message = format!("`{key}` has to be a list");
                self.error(Code::NotAList, &format!("{pointer}/{key}"), message, "put it in brackets: [ … ]");
                Vec::new()
            }
        }
    }

    fn path(&mut self, text: &str, pointer: String) -> Option<Path> {
        match parse(text) {
            Ok(expression) => Some(Path { text: text.to_owned(), expression, pointer }),
            Err(error) => {
                let cure = syntax_cure(text, &error.span);
                let place = Some((text.to_owned(), error.span));
                self.list.push(Diagnostic { place, ..Diagnostic::error(Code::BadPath, pointer, error.message, cure) });
                None
            }
        }
    }

    fn selects(&mut self, map: &Map<String, Value>, key: &str, pointer: &str, depth: usize) -> Vec<Select> {
        if depth > DEEPEST {
            let message = format!("more than {DEEPEST} selects within each other");
            self.error(Code::TooDeep, pointer, message, "put the columns into fewer selects");
            return Vec::new();
        }
        let list = self.list_of(map, key, pointer);
        list.into_iter().filter_map(|(pointer, value)| self.select(value, &pointer, depth)).collect()
    }

    fn select(&mut self, value: &Value, pointer: &str, depth: usize) -> Option<Select> {
        let map = self.object(value, pointer)?;
        self.unknown_keys(map, &SELECT_KEYS, pointer, "a select");
        let iterations = ["forEach", "forEachOrNull", "repeat"].into_iter().filter(|key| map.contains_key(*key));
        let iterations: Vec<&str> = iterations.collect();
        if iterations.len() > 1 {
            let message = format!("{} in one select", iterations.join(" and "));
            let cure = "keep one; put the other into a select within this one";
            self.error(Code::TwoIterations, pointer, message, cure);
        }
        let iteration = iterations.first().and_then(|key| self.iteration(map, key, pointer));
        let columns = self.list_of(map, "column", pointer);
        let columns = columns.into_iter().filter_map(|(pointer, value)| self.column(value, pointer)).collect();
        if !["column", "select", "unionAll"].iter().any(|key| map.contains_key(*key)) {
            self.warn(Code::EmptySelect, pointer, "the select has no columns", "add `column`, or leave the select out");
        }
        let selects = self.selects(map, "select", pointer, depth + 1);
        let unions = self.selects(map, "unionAll", pointer, depth + 1);
        Some(Select { iteration, columns, selects, unions, pointer: pointer.to_owned() })
    }

    fn iteration(&mut self, map: &Map<String, Value>, key: &str, pointer: &str) -> Option<Iteration> {
        let at = format!("{pointer}/{key}");
        if key != "repeat" {
            let text = self.string(map, key, pointer)?;
            let path = self.path(&text, at)?;
            return Some(Iteration { paths: vec![path], or_null: key == "forEachOrNull", repeated: false });
        }
        let (list, mut paths) = (self.list_of(map, key, pointer), Vec::new());
        if list.is_empty() && map.get(key).is_some_and(Value::is_array) {
            self.error(Code::EmptyRepeat, &at, "`repeat` needs at least one path", "add one: [\"item\"]");
        }
        for (pointer, value) in list {
            match value.as_str() {
                Some(text) => paths.extend(self.path(text, pointer)),
                None => self.error(Code::NotAString, &pointer, "a path has to stand here", "put it in quotes"),
            }
        }
        Some(Iteration { paths, or_null: false, repeated: true })
    }

    fn column(&mut self, value: &Value, pointer: String) -> Option<Column> {
        let name = self.required(value, "name", &pointer);
        let map = value.as_object()?;
        let text = self.required(value, "path", &pointer);
        self.unknown_keys(map, &COLUMN_KEYS, &pointer, "a column");
        if let Some(name) = &name {
            self.name(name, &format!("{pointer}/name"), "a column");
        }
        let collection = map.get("collection");
        if collection.is_some_and(|value| !value.is_boolean()) {
            let at = format!("{pointer}/collection");
            self.error(Code::NotABoolean, &at, "`collection` has to be true or false", "write it without quotes");
        }
        let ansi_type = self.ansi_type(map, &pointer);
        let fhir_type = self.string(map, "type", &pointer);
        let fhir_type = fhir_type.map(|name| name.rsplit('/').next().unwrap_or_default().to_owned());
        let path = text.and_then(|text| self.path(&text, format!("{pointer}/path")));
        Some(Column {
            name: name?,
            path: path?,
            fhir_type,
            ansi_type,
            collection: collection.and_then(Value::as_bool).unwrap_or(false),
            description: map.get("description").and_then(Value::as_str).map(ToOwned::to_owned),
            pointer,
        })
    }

    fn ansi_type(&mut self, map: &Map<String, Value>, pointer: &str) -> Option<String> {
        let mut found = None;
        for (pointer, value) in self.list_of(map, "tag", pointer) {
            let (name, value_of) = (self.required(value, "name", &pointer), value.as_object());
            let Some(tag) = value_of else { continue };
            self.unknown_keys(tag, &TAG_KEYS, &pointer, "a tag");
            let text = self.required(value, "value", &pointer);
            if name.as_deref() != Some("ansi/type") {
                continue;
            }
            if found.is_some() {
                self.error(Code::Twice, &pointer, "`ansi/type` is there twice", "keep one");
            }
            found = found.or(text);
        }
        found
    }

    fn unused_constants(&mut self, view: &View) {
        let mut used = Vec::new();
        view.filters.iter().for_each(|path| constants_of(&path.expression, &mut used));
        let mut waiting: Vec<&Select> = view.selects.iter().collect();
        while let Some(select) = waiting.pop() {
            let iterated = select.iteration.iter().flat_map(|iteration| &iteration.paths);
            for path in iterated.chain(select.columns.iter().map(|column| &column.path)) {
                constants_of(&path.expression, &mut used);
            }
            waiting.extend(select.selects.iter().chain(&select.unions));
        }
        // Where a path could not be read, it may be the one that uses it.
        if self.list.iter().any(|one| one.code == Code::BadPath) {
            return;
        }
        for constant in view.constants.iter().filter(|constant| !used.contains(&constant.name)) {
            let (name, pointer) = (&constant.name, &constant.pointer);
            if !VARIABLES.contains(&name.as_str()) {
                self.warn(Code::UnusedConstant, pointer, format!("no path uses `%{name}`"), "leave it out, or use it");
            }
        }
    }
}

fn constants_of(expression: &Expression, used: &mut Vec<String>) {
    match &expression.kind {
        Kind::Constant(name) => used.push(name.clone()),
        Kind::Member(of, _) | Kind::Negative(of) => constants_of(of, used),
        Kind::Index(of, other) | Kind::Binary(_, of, other) => {
            constants_of(of, used);
            constants_of(other, used);
        }
        Kind::Call(of, _, arguments) => {
            constants_of(of, used);
            arguments.iter().for_each(|argument| constants_of(argument, used));
        }
        Kind::This | Kind::Place | Kind::Literal(_) | Kind::Empty => {}
    }
}

/// What to do about a path that is no FHIRPath: for what is brought along from other languages, how FHIRPath has it.
fn syntax_cure(text: &str, span: &Range<usize>) -> &'static str {
    let (before, there) = (text.get(..span.start).unwrap_or_default(), text.get(span.start..).unwrap_or_default());
    let before = before.trim_end();
    let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    match there.chars().next() {
        _ if text.trim().is_empty() => "name an element: `id`, `name.family.first()`",
        Some('"') => "a text stands in single quotes: 'x'",
        Some('‘' | '’' | '“' | '”' | '´') => "a text stands in straight single quotes: 'x'",
        Some(':') if ["http", "https", "urn"].contains(&word) => "an address stands in single quotes: 'http://…'",
        Some('=') if before.ends_with('=') => "one `=` compares",
        Some('&') if before.ends_with('&') => "write `and`",
        Some('|') if before.ends_with('|') => "write `or`; for the first that is there, `coalesce()`",
        Some('!') => "write `.not()` behind it, or `!=`",
        Some(';') => "leave the semicolon out",
        Some(_) if word == "not" => "`not` stands behind: `active.not()`",
        _ => "mend the path there, or just before",
    }
}
