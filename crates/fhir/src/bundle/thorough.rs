//! A page as JSON allows it to be written, read by serde: slower, and the last word on what is a page and what is none.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Held, Parts, Slot, mode};
use crate::resource;

pub(super) fn parts(text: &str) -> Result<Parts<'_>, serde_json::Error> {
    let bundle: RawBundle<'_> = serde_json::from_str(text)?;
    Ok(Parts {
        resource_type: bundle.resource_type.map(RawValue::get),
        total: bundle.total.map(RawValue::get),
        link: bundle.link.map(RawValue::get),
        slots: bundle.entry.map(|entries| entries.0.into_iter().map(slot).collect()).unwrap_or_default(),
    })
}

fn slot(RawEntry { resource, search }: RawEntry<'_>) -> Slot<'_> {
    Slot {
        resource: resource.map(|raw| Held { raw: raw.get(), head: resource::head_of_read(raw.get()).ok() }),
        mode: search.and_then(|raw| mode(raw.get())),
    }
}

#[derive(Deserialize)]
struct RawBundle<'a> {
    #[serde(borrow, default, rename = "resourceType")]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    total: Option<&'a RawValue>,
    #[serde(borrow, default)]
    link: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entry: Option<RawEntries<'a>>,
}

/// One element of `Bundle.entry`. What is no object, a null for one, is an entry without a resource: it must not cost
/// the page, and neither must a key that comes twice.
#[derive(Default)]
struct RawEntry<'a> {
    resource: Option<&'a RawValue>,
    search: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum EntryKey {
    Resource,
    Search,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for RawEntry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneEntry;
        impl<'de> Visitor<'de> for OneEntry {
            type Value = RawEntry<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entry")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entry = RawEntry::default();
                while let Some(key) = map.next_key::<EntryKey>()? {
                    match key {
                        EntryKey::Resource => entry.resource = map.next_value()?,
                        EntryKey::Search => entry.search = map.next_value()?,
                        EntryKey::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(entry)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawEntry::default())
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(RawEntry::default())
            }
        }
        deserializer.deserialize_any(OneEntry)
    }
}

/// `Bundle.entry`: an array, or null or something else on servers that have nothing to say.
struct RawEntries<'a>(Vec<RawEntry<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for RawEntries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<RawEntry<'de>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of entries")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }
        }
        deserializer.deserialize_any(Entries).map(Self)
    }
}
