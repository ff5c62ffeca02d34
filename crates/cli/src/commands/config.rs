//! `fhirvest config`.

use fhirvest_jobs::{
    config::{PlatformFile, PublisherFile, Settings, ValueSets},
    run::Exit,
};

use crate::{
    arguments::{Config, Global, SchemaKind},
    failure::Failure,
    output,
};

pub(crate) fn config(global: &Global, command: &Config) -> Result<Exit, Failure> {
    match command {
        Config::Show { job, environment, json } => {
            let mut flags = super::lake_flag(global);
            flags.extend(environment.clone().map(|name| ("environment".to_owned(), name)));
            let shown = super::loader(global, flags).show(job.as_deref())?;
            if json.json {
                output::json(&shown)?;
            } else {
                let rows = shown.into_iter().map(|one| vec![one.key, one.value, one.origin]).collect();
                output::data(&output::table(&["setting", "value", "from"], rows))?;
            }
        }
        Config::Schema { kind } => {
            let schema = match kind {
                SchemaKind::Job => schemars::schema_for!(Settings),
                SchemaKind::Platform => schemars::schema_for!(PlatformFile),
                SchemaKind::Api => schemars::schema_for!(PublisherFile),
                SchemaKind::ValueSets => schemars::schema_for!(ValueSets),
            };
            let text = serde_json::to_string_pretty(&schema).map_err(|error| Failure::new(Exit::Bug, &error))?;
            output::data(&text)?;
        }
    }
    Ok(Exit::Done)
}
