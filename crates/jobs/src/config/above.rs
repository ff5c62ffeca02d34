//! What is said above the files, by variables and flags: checked like them, each by itself a layer of one key.

use schemars::schema_for;
use serde_json::Value;

use super::{Loader, Settings, check, layers::Layer};

/// What the names of variables begin with.
const PREFIX: &str = "FHIRVEST__";

impl Loader {
    /// A layer for each variable and each flag, those that count more last.
    pub(super) fn above(&self) -> Vec<Layer> {
        let mut variables: Vec<(String, String)> = match &self.variables {
            Some(variables) => variables.clone().into_iter().collect(),
            None => std::env::vars_os().filter_map(|(k, v)| k.into_string().ok().zip(v.into_string().ok())).collect(),
        };
        variables.sort();
        let variables = variables.iter().filter_map(|(name, value)| {
            let words = name.strip_prefix(PREFIX)?.to_lowercase();
            Some(layer(format!("environment variable {name}"), words.split("__"), value))
        });
        let flags = self.flags.iter().map(|(key, value)| layer(format!("flag {key}"), key.split('.'), value));
        variables.chain(flags).collect()
    }
}

/// A text where the key takes one, else the number or the choice that the text says.
fn layer<'k>(origin: String, words: impl Iterator<Item = &'k str>, value: &str) -> Layer {
    let key = words.map(|word| toml::Value::from(word).to_string()).collect::<Vec<_>>().join(".");
    let schema = Value::from(schema_for!(Settings));
    let as_text = format!("{key} = {}", toml::Value::from(value));
    // A text that is no more than wrong as a text is told as one.
    let no_text =
        check::check("", &as_text, &schema).iter().any(|mistake| mistake.message.contains("is a string, but"));
    let said = value.trim().parse::<toml::Value>().ok();
    let scalar = said.filter(|said| said.is_integer() || said.is_float() || said.is_bool());
    let text = scalar.filter(|_| no_text).map_or(as_text, |scalar| format!("{key} = {scalar}"));
    Layer { origin, text, placeless: true }
}
