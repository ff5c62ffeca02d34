//! `fhirvest views`.

use camino::Utf8Path;
use fhirvest_flattener::{Diagnostic, Severity, Table, check_view, sarif};
use fhirvest_jobs::{
    config::ConfigText,
    run::{Exit, RunError},
    views::ViewSet,
};
use serde::Serialize;

use crate::{
    arguments::{Global, LintFormat, Views},
    failure::Failure,
    output,
};

#[derive(Serialize)]
struct Listed {
    view: String,
    table: String,
    resource: String,
    columns: usize,
    description: Option<String>,
}

pub(crate) fn views(global: &Global, command: &Views) -> Result<Exit, Failure> {
    match command {
        Views::List(json) => list(global, json.json),
        Views::Check { views, format } => check(global, views, *format),
        Views::Ddl { views } => ddl(global, views),
    }
}

fn list(global: &Global, as_json: bool) -> Result<Exit, Failure> {
    let texts = shipped(global)?;
    let set = compile(&texts)?;
    let mut listed = Vec::new();
    for text in &texts {
        let parsed = fhirvest_flattener::parse_view(&text.text, &text.origin);
        let Ok(view) = parsed else { continue };
        let shape = set.tables.iter().find(|table| table.name == view.name());
        listed.push(Listed {
            view: text.path.trim_end_matches(".json").to_owned(),
            table: view.name().to_owned(),
            resource: view.resource().to_owned(),
            columns: shape.map_or(0, |table| table.schema.fields().len()),
            description: view.description().map(ToOwned::to_owned),
        });
    }
    if as_json {
        output::json(&listed)?;
        return Ok(Exit::Done);
    }
    let rows = listed
        .into_iter()
        .map(|one| {
            vec![one.view, one.table, one.resource, one.columns.to_string(), one.description.unwrap_or_default()]
        })
        .collect();
    output::data(&output::table(&["view", "table", "resource", "columns", "one row per"], rows))?;
    Ok(Exit::Done)
}

/// Every mistake of the views, and what is worth a look. Exit code 2 where a view cannot be used.
fn check(global: &Global, names: &[String], format: LintFormat) -> Result<Exit, Failure> {
    let texts = named(global, names)?;
    let told: Vec<Diagnostic> = texts.iter().flat_map(|text| check_view(&text.text, &text.origin).list).collect();
    match format {
        LintFormat::Text => told.iter().try_for_each(|one| output::data(&one.to_string()))?,
        LintFormat::Json => output::json(&told.iter().map(Diagnostic::to_json).collect::<Vec<_>>())?,
        LintFormat::Sarif => output::json(&sarif(&told, env!("CARGO_PKG_VERSION")))?,
    }
    let errors = told.iter().filter(|one| one.severity == Severity::Error).count();
    let files = texts.len();
    output::say(&format!("views: {files}, errors: {errors}, warnings: {}", told.len() - errors));
    if errors > 0 {
        return Ok(Exit::Usage);
    }
    // Each by itself is right; together they may still fill one table in two ways.
    compile(&texts)?;
    Ok(Exit::Done)
}

/// Views by name or file; all shipped ones where none is named.
fn named(global: &Global, names: &[String]) -> Result<Vec<ConfigText>, Failure> {
    if names.is_empty() {
        return shipped(global);
    }
    let loader = super::loader(global, Vec::new());
    let mut texts = Vec::new();
    for name in names {
        let path = Utf8Path::new(name);
        if path.is_file() || path.extension().is_some() {
            texts.push(read(path)?);
        } else {
            texts.extend(loader.views("views", std::slice::from_ref(name))?);
        }
    }
    Ok(texts)
}

fn ddl(global: &Global, names: &[String]) -> Result<Exit, Failure> {
    let texts = named(global, names)?;
    let set = compile(&texts)?;
    let mut statements = Vec::new();
    for table in &set.tables {
        let plan = table.feeds.first().and_then(|feed| set.plans.get(feed.plan)?.tables().get(feed.table));
        statements.extend(plan.map(create_table));
    }
    output::data(&statements.join("\n\n"))?;
    Ok(Exit::Done)
}

fn create_table(table: &Table) -> String {
    let columns: Vec<String> = table
        .schema
        .fields()
        .iter()
        .zip(&table.sql_types)
        .map(|(field, sql_type)| format!("  \"{}\" {sql_type}", field.name().replace('"', "\"\"")))
        .collect();
    format!("CREATE TABLE \"{}\" (\n{}\n);", table.name, columns.join(",\n"))
}

fn compile(texts: &[ConfigText]) -> Result<ViewSet, Failure> {
    Ok(ViewSet::compile(texts).map_err(RunError::from)?)
}

fn shipped(global: &Global) -> Result<Vec<ConfigText>, Failure> {
    Ok(super::loader(global, Vec::new()).all_views()?)
}

pub(super) fn read(path: &Utf8Path) -> Result<ConfigText, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{path} cannot be read: {error}")))?;
    Ok(ConfigText { origin: path.to_string(), path: path.to_string(), text })
}
