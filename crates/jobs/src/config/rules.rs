//! What no schema can say: what the keys of a job come to together, and the names that have to exist elsewhere. Each
//! finding names its key, so that it can be told with its place; a file with other mistakes is judged as far as it goes.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Loader, VERSION,
    layers::{Key, key},
    nearest,
    resource::ResourceConfig,
};

/// A mistake, by the key that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) key: Key,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Finding {
    fn new(words: &[&str], message: impl Into<String>) -> Self {
        Self { key: key(words), message: message.into(), help: None }
    }

    fn with(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The names that a job may use.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) platforms: Vec<String>,
    pub(super) value_sets: Vec<String>,
    pub(super) views: Vec<String>,
}

impl Known {
    /// What the configuration folder has. Files with mistakes count by their names: their mistakes are told elsewhere.
    pub(super) fn of(loader: &Loader) -> Self {
        let stems = |folder: &str, ending: &str| {
            let files = super::shipped::files(&loader.config, folder, ending).unwrap_or_default();
            files.into_iter().map(|file| file.path.trim_end_matches(ending).to_owned()).collect()
        };
        let value_sets = loader.value_sets().map(|sets| sets.into_keys().collect()).unwrap_or_default();
        Self { platforms: stems("platforms", ".toml"), value_sets, views: stems("views", ".json") }
    }
}

/// Every finding about the settings of one job, as its layers have them together.
pub(super) fn findings(settings: &Value, known: &Known) -> Vec<Finding> {
    let mut found = Vec::new();
    let has = |name: &str| settings.get(name).is_some();
    if let Some(version) = settings.get("version").filter(|one| one.is_u64() && one.as_u64() != Some(VERSION.into())) {
        let message = format!("`version` is {version}, but this program reads version {VERSION}");
        found.push(Finding::new(&["version"], message));
    }
    match (has("api"), has("source")) {
        (true, true) => found.push(Finding::new(&["source"], "the job has both `api` and `[source]`").with("keep one")),
        (false, false) => found.push(
            Finding::new(&["api"], "the job has neither `api` nor `[source]`")
                .with("name an API of `fhirvest apis`, or describe a source"),
        ),
        _ => {}
    }
    if let Some(name) = settings.pointer("/source/platform").and_then(Value::as_str)
        && !known.platforms.iter().any(|one| one == name)
    {
        let help = nearest(name, known.platforms.iter().map(String::as_str));
        let message = format!("there is no platform `{name}` in config/platforms");
        found.push(Finding::new(&["source", "platform"], message).with(help));
    }
    for (place, pattern) in texts(settings.get("views")) {
        let fits = |view: &String| super::matches(pattern.trim_end_matches(".json"), view);
        if !known.views.iter().any(fits) {
            let help = nearest(pattern, known.views.iter().map(String::as_str));
            let message = format!("no view fits `{pattern}`");
            found.push(Finding::new(&["views", &place.to_string()], message).with(help));
        }
    }
    if let Some(webhook) = settings.pointer("/notify/webhook")
        && webhook.get("url").is_some() == webhook.get("secret_url").is_some()
    {
        let message = "a webhook has one address";
        found.push(Finding::new(&["notify", "webhook"], message).with("give `url` or `secret_url`"));
    }
    match settings.get("resources").and_then(Value::as_object).filter(|all| !all.is_empty()) {
        Some(all) => {
            let read: BTreeMap<String, Option<ResourceConfig>> =
                all.iter().map(|(name, value)| (name.clone(), read(value))).collect();
            found.extend(resources(&read, known));
        }
        None => found.push(Finding::new(&["resources"], "the job has no [resources.<Type>]: say what to harvest")),
    }
    found
}

/// How the types are harvested; a type whose keys do not read is looked at by its name only.
pub(super) fn resources(all: &BTreeMap<String, Option<ResourceConfig>>, known: &Known) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, resource) in all {
        let Some(resource) = resource else { continue };
        let mut resource = resource.clone();
        if let Some(values) = &mut resource.values
            && let Some(set) = values.set.take()
        {
            let at = ["resources", name, "values", "set"];
            if !values.list.is_empty() {
                found.push(Finding::new(&at, "`values` has both `list` and `set`").with("keep one"));
            } else if known.value_sets.contains(&set) {
                // Its values come later: any one stands for them here.
                values.list = vec![set];
            } else {
                let help = nearest(&set, known.value_sets.iter().map(String::as_str));
                let message = format!("there is no list `{set}` in config/value-sets.toml");
                found.push(Finding::new(&at, message).with(help));
                continue;
            }
        }
        match resource.strategy(chrono::DateTime::UNIX_EPOCH) {
            Err(message) => {
                let message = format!("[resources.{name}]: {message}");
                found.push(Finding::new(&["resources", name, "strategy"], message));
            }
            Ok((strategy, _)) => {
                let at = ["resources", name.as_str()];
                match strategy.source() {
                    Some(from) if from == name => {
                        found.push(Finding::new(&at, format!("[resources.{name}]: the type cannot start from itself")));
                    }
                    Some(from) if !all.contains_key(from) => {
                        let message = format!(
                            "[resources.{name}]: its strategy starts from {from}, which the job does not harvest"
                        );
                        found.push(Finding::new(&at, message).with(format!("add [resources.{from}]")));
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = (usize, &str)> {
    let list = list.and_then(Value::as_array).into_iter().flatten().enumerate();
    list.filter_map(|(place, value)| Some((place, value.as_str()?)))
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}
