//! `fhirvest apis`.

use std::collections::BTreeMap;

use camino::Utf8Path;
use fhirvest_jobs::{
    config::{Api, Blank, Publisher, PublisherFile},
    run::Exit,
};
use serde::Serialize;

use crate::{
    arguments::{Apis, ApisCommand, Global},
    failure::Failure,
    output,
};

pub(crate) fn apis(global: &Global, arguments: &Apis) -> Result<Exit, Failure> {
    let catalog = super::loader(global, Vec::new()).catalog()?;
    match &arguments.command {
        Some(ApisCommand::Import { file, api, environment, json }) => import(global, file, api, environment, json.json),
        None => list(global, &catalog, arguments.json.json),
        Some(ApisCommand::Show { api, json }) => show(global, &catalog, api, json.json),
    }
}

/// What an OpenAPI file tells, into the catalogue.
fn import(global: &Global, file: &Utf8Path, api: &str, environment: &str, json: bool) -> Result<Exit, Failure> {
    let imported = super::loader(global, Vec::new()).import(api, environment, file)?;
    if json {
        return output::json(&imported).map(|()| Exit::Done);
    }
    let set = if imported.set.is_empty() { "nothing".to_owned() } else { imported.set.join(", ") };
    let mut lines = vec![format!("{}: set {set} of {api} in {environment}", imported.file)];
    lines.extend(imported.undecided.iter().map(|text| format!("for you to choose: {text}")));
    lines.extend(imported.blanks.iter().map(|blank| format!("still to fill in: {blank}")));
    output::data(&lines.join("\n"))?;
    Ok(Exit::Done)
}

type Catalog = BTreeMap<String, PublisherFile>;

/// Every API, what it needs and what is missing.
fn list(global: &Global, catalog: &Catalog, json: bool) -> Result<Exit, Failure> {
    if json {
        let all: Vec<Shown<'_>> = every(catalog).map(|(id, file, api)| Shown::new(id, file, api)).collect();
        return output::json(&all).map(|()| Exit::Done);
    }
    let mut lines = Vec::new();
    for (file, publisher) in catalog {
        let code = publisher.publisher.registration_code.as_deref().unwrap_or("none");
        lines.push(format!("{} (registration code {code})", publisher.publisher.name));
        for (name, api) in &publisher.apis {
            lines.push(format!("  {file}/{name}: {}", api.title));
            lines.push(format!("    holds         {}", api.describes));
            lines.push(format!("    sign-in       {}", api.auth));
            lines.push(format!("    resources     {}", resources(api)));
            for environment in api.environments.keys() {
                let place = place(publisher, api, environment);
                lines.push(format!("    {environment:<13} {place}"));
            }
        }
    }
    lines.push(format!(
        "where to find what is to be filled in, and where to put it ({}/apis): fhirvest apis show API",
        global.config
    ));
    output::data(&lines.join("\n"))?;
    Ok(Exit::Done)
}

/// One API with all that is known of it and where to find the rest.
fn show(global: &Global, catalog: &Catalog, id: &str, json: bool) -> Result<Exit, Failure> {
    let Some((_, publisher, api)) = every(catalog).find(|(known, ..)| known == id) else {
        let known: Vec<String> = every(catalog).map(|(id, ..)| id).collect();
        return Err(Failure::usage(format!("there is no API `{id}` in the catalogue: it has {}", known.join(", "))));
    };
    if json {
        return output::json(&Shown::new(id.to_owned(), publisher, api)).map(|()| Exit::Done);
    }
    let of = &publisher.publisher;
    let or_blank = |text: &Option<String>| text.clone().unwrap_or_else(|| "not published".to_owned());
    let mut lines = vec![
        format!("{id}: {} of {}", api.title, of.name),
        format!("  holds         {}", api.describes),
        format!("  guide         {}", api.guide),
        format!("  sign-in       {}", api.auth),
        format!("  resources     {}", resources(api)),
        format!("  register at   {} (code {})", or_blank(&of.portal), or_blank(&of.registration_code)),
        format!("  catalogue     {}", or_blank(&of.catalogue)),
        format!("  support       {}", or_blank(&of.support)),
    ];
    for (resource_type, names) in &api.search_parameters {
        lines.push(format!("  searches      {resource_type} by {}", names.join(", ")));
    }
    for environment in api.environments.keys() {
        lines.push(format!("  {environment:<13} {}", place(publisher, api, environment)));
        for blank in api.blanks(environment, of) {
            lines.push(format!("    to fill in: {blank}"));
        }
    }
    lines.extend(api.to_fill_in.iter().map(|text| format!("  not published: {text}")));
    let (file, _) = id.split_once('/').unwrap_or((id, ""));
    lines.push(format!("  fill it in in {}/apis/{file}.toml, or: fhirvest apis import FILE --api {id}", global.config));
    output::data(&lines.join("\n"))?;
    Ok(Exit::Done)
}

fn every(catalog: &Catalog) -> impl Iterator<Item = (String, &PublisherFile, &Api)> {
    catalog.iter().flat_map(|(file, publisher)| {
        publisher.apis.iter().map(move |(name, api)| (format!("{file}/{name}"), publisher, api))
    })
}

fn resources(api: &Api) -> String {
    if api.resources.is_empty() { "not published".to_owned() } else { api.resources.join(", ") }
}

/// Where an API is reached in one environment, in a line.
fn place(publisher: &PublisherFile, api: &Api, environment: &str) -> String {
    let url = api.environments.get(environment).and_then(|place| place.base_url.as_deref());
    let blanks: Vec<String> =
        api.blanks(environment, &publisher.publisher).into_iter().map(|blank| blank.key).collect();
    match (url, blanks.as_slice()) {
        (Some(url), []) => url.to_owned(),
        (url, _) => format!("{} (to fill in: {})", url.unwrap_or("-"), blanks.join(", ")),
    }
}

/// An API as `--json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    api: String,
    publisher: &'a Publisher,
    #[serde(flatten)]
    entry: &'a Api,
    /// What is to be filled in, by environment.
    blanks: BTreeMap<&'a str, Vec<Blank>>,
}

impl<'a> Shown<'a> {
    fn new(api: String, file: &'a PublisherFile, entry: &'a Api) -> Self {
        let of = |name: &'a String| (name.as_str(), entry.blanks(name, &file.publisher));
        Self { api, publisher: &file.publisher, entry, blanks: entry.environments.keys().map(of).collect() }
    }
}
