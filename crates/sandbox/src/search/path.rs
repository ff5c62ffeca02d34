//! Walks from a resource's text to the elements a search parameter points at, skipping everything else unread.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Calls `found` with the text of every element at `path`; arrays on the way and at the end are entered.
///
/// A step is a property name; the step `extension(name)` stands for the extensions whose URL ends in `/name` or is
/// `name` itself.
pub(crate) fn walk(text: &str, path: &[&str], found: &mut dyn FnMut(&str)) {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // A resource that stops being JSON half way simply has no more elements to find: it was checked when it came in.
    let _ = Walk { path, found }.deserialize(&mut deserializer);
}

struct Walk<'p, 'f> {
    path: &'p [&'p str],
    found: &'f mut dyn FnMut(&str),
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Some((step, rest)) = self.path.split_first() else {
            let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?;
            leaf(raw.get(), self.found);
            return Ok(());
        };
        if let Some(name) = step.strip_prefix('(').and_then(|step| step.strip_suffix(')')) {
            let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?;
            return each(raw.get(), &mut |element| {
                if has_url(element, name) {
                    walk(element, rest, self.found);
                }
            })
            .map_err(D::Error::custom);
        }
        deserializer.deserialize_any(Steps { step, rest, path: self.path, found: self.found })
    }
}

fn leaf(raw: &str, found: &mut dyn FnMut(&str)) {
    if raw.starts_with('[') {
        let _ = each(raw, found);
    } else if raw != "null" {
        found(raw);
    }
}

/// Every element of an array, or the value itself when it is none.
fn each(raw: &str, found: &mut dyn FnMut(&str)) -> Result<(), serde_json::Error> {
    if raw.starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(raw)?;
        elements.iter().map(|element| element.get()).filter(|element| *element != "null").for_each(found);
    } else {
        found(raw);
    }
    Ok(())
}

fn has_url(extension: &str, name: &str) -> bool {
    let mut matches = false;
    walk(extension, &["url"], &mut |url| {
        let url = url.trim_matches('"');
        matches |= url.rsplit('/').next().is_some_and(|last| last == name);
    });
    matches
}

struct Steps<'p, 'f> {
    step: &'p str,
    rest: &'p [&'p str],
    path: &'p [&'p str],
    found: &'f mut dyn FnMut(&str),
}

impl<'de> Visitor<'de> for Steps<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(Key(self.step))? {
            if found {
                map.next_value_seed(Walk { path: self.rest, found: &mut *self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Walk { path: self.path, found: &mut *self.found })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A property name, compared and forgotten.
struct Key<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a property name")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, path: &[&str]) -> Vec<String> {
        let mut all = Vec::new();
        walk(text, path, &mut |element| all.push(element.to_owned()));
        all
    }

    #[test]
    fn enters_arrays_and_skips_what_is_not_on_the_way() {
        let text = r#"{"id":"x","name":[{"family":"A","given":["B","C"]},{"given":"D"},7,null],"given":["no"]}"#;
        assert_eq!(found(text, &["name", "given"]), [r#""B""#, r#""C""#, r#""D""#]);
        assert_eq!(found(text, &["name", "family"]), [r#""A""#]);
        assert_eq!(found(text, &["absent"]), [""; 0]);
        assert_eq!(found(r#"{"a":null}"#, &["a"]), [""; 0]);
    }

    #[test]
    fn picks_extensions_by_the_end_of_their_url() {
        let text = r#"{"extension":[{"valueReference":{"reference":"Organization/1"},"url":"http://x/network-reference"},
            {"url":"http://x/other","valueReference":{"reference":"Organization/2"}},{"url":"network-reference","valueReference":{"reference":"Organization/3"}}]}"#;
        let path = ["extension", "(network-reference)", "valueReference", "reference"];
        assert_eq!(found(text, &path), [r#""Organization/1""#, r#""Organization/3""#]);
    }
}
