//! `fhirvest config show`: each value with the place that it comes from.

use serde_json::Value;

use super::{
    ConfigError, Loader, Settings, Source,
    layers::{self, Key, Layer, key},
    shipped,
};

/// One resolved value and where it comes from, for `fhirvest config show`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ShownValue {
    /// The key with its tables: `rate.burst`.
    pub key: String,
    /// The value as JSON text.
    pub value: String,
    /// Where it is said: a file with its line, `environment variable …`, `flag`, or `built-in`.
    pub origin: String,
}

impl Loader {
    /// The resolved values of a job, or of no job, each with its origin.
    ///
    /// # Errors
    /// As [`Loader::jobs`].
    pub fn show(&self, job: Option<&str>) -> Result<Vec<ShownValue>, ConfigError> {
        let file = job.map(|name| self.job_file(name)).transpose()?;
        let environment = self.environment(file.as_ref())?;
        let mut layers = self.layers(file, environment.as_deref())?;
        let mut settings = self.merge(job.unwrap_or("(none)"), &layers)?;
        // What the catalogue and the platform add lies under the job's own keys.
        if let Some(name) = job {
            let mut source = self.source(name, &settings)?;
            layers.splice(1..1, self.underneath(&settings, &source)?);
            self.preset(name, &mut source, &mut settings)?;
            settings.source = Some(source.into());
        }
        let mut shown = Vec::new();
        leaves(&serde_json::to_value(&settings).unwrap_or(Value::Null), &mut Vec::new(), &mut |key, value| {
            shown.push(ShownValue {
                key: key.join("."),
                value: shown_text(key, value),
                origin: self.origin(key, &layers),
            });
        });
        Ok(shown)
    }

    /// The parts of the catalogue and of the platform that a job takes, as if they were layers of it.
    fn underneath(&self, settings: &Settings, source: &Source) -> Result<Vec<Layer>, ConfigError> {
        let mut found = Vec::new();
        if let Some(name) = &source.platform {
            found.extend(shipped::file(&self.config, &format!("platforms/{name}.toml"))?);
        }
        if let Some((file, _)) = settings.api.as_deref().and_then(|api| api.split_once('/')) {
            found.extend(shipped::file(&self.config, &format!("apis/{file}.toml"))?);
        }
        Ok(found.into_iter().map(|file| Layer { origin: file.origin, text: file.text, placeless: false }).collect())
    }

    fn origin(&self, key: &[String], layers: &[Layer]) -> String {
        if self.flags.iter().any(|(flag, _)| *flag == key.join(".")) {
            return "flag".to_owned();
        }
        let variable = format!("FHIRVEST__{}", key.join("__").to_uppercase());
        let set = match &self.variables {
            Some(variables) => variables.contains_key(&variable),
            None => std::env::var_os(&variable).is_some(),
        };
        if set {
            return format!("environment variable {variable}");
        }
        let mut others: Vec<Key> = Vec::new();
        if let Some((first, rest)) = key.split_first() {
            // A platform says for all types what it does not say for one.
            if let ("resources", Some((_, own))) = (first.as_str(), rest.split_first()) {
                others.push([&["defaults".to_owned()], own].concat());
            }
            if let ("source", Some(api)) = (first.as_str(), self.api_of(layers)) {
                others.push([&key_of_environment(&api), rest].concat());
            }
        }
        let place = layers::origin(layers, key);
        let place = place.or_else(|| others.iter().find_map(|other| layers::origin(layers, other)));
        place.map_or_else(|| "built-in".to_owned(), |place| format!("{}:{}", place.file, place.line))
    }

    /// The API that the layers name, with its environment.
    fn api_of(&self, layers: &[Layer]) -> Option<(String, String)> {
        let values = layers::merged(layers);
        let text = |name: &str| values.get(name)?.as_str().map(ToOwned::to_owned);
        let flag = self.flags.iter().find(|(name, _)| name == "environment").map(|(_, value)| value.clone());
        Some((text("api")?.split_once('/')?.1.to_owned(), flag.or_else(|| text("environment"))?))
    }
}

fn leaves(value: &Value, path: &mut Key, visit: &mut impl FnMut(&[String], &Value)) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                leaves(value, path, visit);
                path.pop();
            }
        }
        other => visit(path, other),
    }
}

/// A value as JSON. Of a command that prints a secret only the program is shown: its arguments may hold one.
fn shown_text(key: &[String], value: &Value) -> String {
    let of_secret =
        key.first().is_some_and(|first| first == "source") && key.last().is_some_and(|last| last == "command");
    match value.as_array().and_then(|words| words.first()).filter(|_| of_secret) {
        Some(program) => format!("[{program}, …]"),
        None => value.to_string(),
    }
}

/// The tables of an API's environment in its publisher's file.
fn key_of_environment((api, environment): &(String, String)) -> Key {
    key(&["apis", api, "environments", environment])
}
