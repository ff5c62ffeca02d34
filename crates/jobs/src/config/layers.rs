//! The layers of a configuration, and where in them a key has its value.

use std::ops::Range;

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::check::{Mistake, position};

/// One file of settings that lies over others, or one variable or flag.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    pub(super) origin: String,
    pub(super) text: String,
    /// It is no file, so that lines mean nothing.
    pub(super) placeless: bool,
}

/// A key with its tables; elements of lists by their number.
pub(super) type Key = Vec<String>;

/// A key from its words.
pub(super) fn key(words: &[&str]) -> Key {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Where a key has its value in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) span: Range<usize>,
    /// How many words of the key were found.
    depth: usize,
}

impl Layer {
    /// The values of the file, as far as it can be read.
    pub(super) fn values(&self) -> Value {
        self.text
            .parse::<toml::Table>()
            .ok()
            .and_then(|table| serde_json::to_value(table).ok())
            .unwrap_or_else(|| Value::Object(serde_json::Map::new()))
    }

    /// Where the key, or the last of its tables that is there, stands in this file.
    fn find(&self, key: &[String]) -> Option<Place> {
        let table = DeTable::parse(&self.text).ok()?;
        let (first, rest) = key.split_first()?;
        let (name, value) = table.get_ref().get_key_value(first.as_str())?;
        let (mut span, mut depth, mut at) = (name.span(), 1, value);
        for word in rest {
            let Some((found, inside)) = step(at, word) else { break };
            (span, depth, at) = (found, depth + 1, inside);
        }
        let (line, column) = if self.placeless { (0, 0) } else { position(&self.text, span.start) };
        Some(Place { file: self.origin.clone(), line, column, span, depth })
    }
}

fn step<'a, 'b>(value: &'b Spanned<DeValue<'a>>, word: &str) -> Option<(Range<usize>, &'b Spanned<DeValue<'a>>)> {
    match value.get_ref() {
        DeValue::Table(table) => table.get_key_value(word).map(|(name, value)| (name.span(), value)),
        DeValue::Array(list) => {
            word.parse::<usize>().ok().and_then(|place| list.get(place)).map(|item| (item.span(), item))
        }
        _ => None,
    }
}

/// The topmost layer that gives the whole key a value.
pub(super) fn origin(layers: &[Layer], key: &[String]) -> Option<Place> {
    layers.iter().rev().filter_map(|layer| layer.find(key)).find(|place| place.depth == key.len())
}

/// A mistake about a key, told where the key, or the nearest of its tables, stands; at the beginning of the topmost file
/// where nothing of it is there.
pub(super) fn mistake(layers: &[Layer], key: &[String], message: String, help: Option<String>) -> Mistake {
    let found: Vec<Place> = layers.iter().rev().filter_map(|layer| layer.find(key)).collect();
    let deepest = found.iter().map(|place| place.depth).max();
    let place = found.into_iter().find(|place| Some(place.depth) == deepest).unwrap_or_else(|| Place {
        file: layers.iter().rfind(|layer| !layer.placeless).map(|layer| layer.origin.clone()).unwrap_or_default(),
        line: 1,
        column: 1,
        span: 0..0,
        depth: 0,
    });
    Mistake { file: place.file, line: place.line, column: place.column, span: place.span, message, help }
}

/// The values of all layers together: tables are merged, anything else is replaced.
pub(super) fn merged(layers: &[Layer]) -> Value {
    fn lay(under: &mut Value, over: Value) {
        match (under, over) {
            (Value::Object(under), Value::Object(over)) => {
                for (key, value) in over {
                    lay(under.entry(key).or_insert(Value::Null), value);
                }
            }
            (under, over) => *under = over,
        }
    }
    let mut all = Value::Object(serde_json::Map::new());
    for layer in layers {
        lay(&mut all, layer.values());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Vec<Layer> {
        let layer = |origin: &str, text: &str| Layer { origin: origin.into(), text: text.into(), placeless: false };
        vec![
            layer("default.toml", "lake = './lake'\n[rate]\nburst = 1\nconcurrency = 2\n"),
            layer("job.toml", "views = ['a', 'b']\n[rate]\nburst = 3\n[resources.Location]\npage_size = 5\n"),
        ]
    }

    #[test]
    fn a_key_comes_from_the_topmost_file_that_has_it() {
        for (words, file, line) in [
            (vec!["rate", "burst"], "job.toml", 3),
            (vec!["rate", "concurrency"], "default.toml", 4),
            (vec!["views", "1"], "job.toml", 1),
            (vec!["resources", "Location", "page_size"], "job.toml", 5),
        ] {
            let place = origin(&layers(), &key(&words)).unwrap();
            assert_eq!((place.file.as_str(), place.line), (file, line), "{words:?}");
        }
        assert_eq!(origin(&layers(), &key(&["rate", "requests_per_second"])), None);
        assert_eq!(merged(&layers())["rate"], serde_json::json!({"burst": 3, "concurrency": 2}));
    }

    #[test]
    fn a_mistake_about_what_is_not_there_is_told_at_its_table() {
        let told = |words: &[&str]| mistake(&layers(), &key(words), "wrong".into(), None).to_string();
        assert_eq!(told(&["resources", "Location", "chain"]), "job.toml:4:12: wrong");
        assert_eq!(told(&["api"]), "job.toml:1:1: wrong");
    }
}
