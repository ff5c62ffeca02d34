//! `fhirvest prune` and `fhirvest verify`.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use fhirvest_jobs::{
    clock::Clock,
    config::{Loader, Settings},
    mirror,
    retention::{self, Keep},
    run::{Exit, RunError},
    verify,
};
use fhirvest_lake::{Lake, remote::Remote};

use crate::{
    arguments::{Global, Json, Prune},
    failure::Failure,
    output,
};

pub(crate) async fn prune(global: &Global, arguments: &Prune) -> Result<Exit, Failure> {
    let loader = super::loader(global, super::lake_flag(global));
    let mut all = Vec::new();
    for (path, keeps) in lakes(&loader)? {
        let keep = |job: &str| keeps.1.get(job).copied().unwrap_or(keeps.0);
        let now = Clock::System.now();
        let settings = Settings { lake: path.to_string(), ..loader.settings("prune")? };
        all.push(match mirror::prune(&settings, keep, now, arguments.dry_run).await.map_err(failed)? {
            Some(pruned) => pruned,
            None => retention::prune(&Lake::at(&path), keep, now, arguments.dry_run).map_err(failed)?,
        });
    }
    if arguments.json.json {
        output::json(&all)?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .flat_map(|one| &one.removed)
        .map(|one| vec![one.path.clone(), one.bytes.to_string(), one.reason.clone()])
        .collect();
    let bytes: u64 = all.iter().flat_map(|one| &one.removed).map(|one| one.bytes).sum();
    let count = rows.len();
    if count > 0 {
        output::data(&output::table(&["removed", "bytes", "why"], rows))?;
    }
    let verb = if arguments.dry_run { "would be removed" } else { "removed" };
    output::say(&format!("{count} folders with {bytes} bytes {verb}"));
    Ok(Exit::Done)
}

pub(crate) async fn verify(global: &Global, arguments: &Json) -> Result<Exit, Failure> {
    let loader = super::loader(global, super::lake_flag(global));
    let mut all = Vec::new();
    for (path, _) in lakes(&loader)? {
        let settings = Settings { lake: path.to_string(), ..loader.settings("verify")? };
        let lake = mirror::whole(&settings).await.map_err(failed)?;
        all.push(verify::verify(&lake).map_err(failed)?);
    }
    let damaged = all.iter().any(|one| !one.damage.is_empty());
    if arguments.json {
        output::json(&all)?;
    } else {
        for one in &all {
            let rows: Vec<Vec<String>> =
                one.damage.iter().map(|one| vec![one.path.clone(), one.what.clone(), one.remedy.clone()]).collect();
            if !rows.is_empty() {
                output::data(&output::table(&["damaged", "how", "do"], rows))?;
            }
            output::say(&format!(
                "{}: {} files with {} bytes checked, {} damaged",
                one.lake,
                one.files,
                one.bytes,
                one.damage.len()
            ));
        }
    }
    Ok(if damaged { Exit::Storage } else { Exit::Done })
}

type Keeps = (Keep, BTreeMap<String, Keep>);

/// The lakes of the jobs and of the defaults that are there, and what each job keeps.
fn lakes(loader: &Loader) -> Result<BTreeMap<Utf8PathBuf, Keeps>, Failure> {
    let defaults = loader.settings("prune")?;
    let mut lakes: BTreeMap<Utf8PathBuf, Keeps> = BTreeMap::new();
    lakes.insert(Utf8PathBuf::from(&defaults.lake), (Keep::from(&defaults), BTreeMap::new()));
    // Without a folder of jobs the defaults are for all.
    if loader.jobs.is_dir() {
        for job in loader.jobs(&[])? {
            let lake = lakes.entry(job.lake().to_owned()).or_insert_with(|| (Keep::from(&defaults), BTreeMap::new()));
            lake.1.insert(job.name.clone(), Keep::from(&job.settings));
        }
    }
    lakes.retain(|path, _| Remote::is_url(path.as_str()) || Lake::at(path).ledger_path().exists());
    if lakes.is_empty() {
        let path = Utf8Path::new(&defaults.lake);
        return Err(Failure::usage(format!("there is no lake at {path}: `fhirvest run` makes one")));
    }
    Ok(lakes)
}

fn failed(error: RunError) -> Failure {
    error.into()
}
