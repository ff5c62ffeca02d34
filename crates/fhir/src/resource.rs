//! One resource as JSON text: its head, its line in an archive, the hash of its content.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::members::Members;

/// What tells a resource apart from others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head<'a> {
    /// `resourceType`; empty where it is missing or no string.
    pub resource_type: Cow<'a, str>,
    /// `id`; absent where it is missing, empty or no string.
    pub id: Option<Cow<'a, str>>,
    /// `meta.lastUpdated`, as written.
    pub last_updated: Option<Cow<'a, str>>,
}

/// The text is no resource.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// It is no JSON object.
    #[error("not a JSON object: {0}")]
    NotJson(#[from] serde_json::Error),
    /// Its brackets, keys and values do not make an object, or one in more than 256 levels.
    #[error("not a JSON object, or more than 256 levels deep")]
    NotAnObject,
}

/// Reads the head of a resource in one pass, skipping everything else. Of duplicate keys the first counts.
///
/// # Errors
/// The text is no JSON object.
pub fn head(resource: &str) -> Result<Head<'_>, ResourceError> {
    let mut parser = serde_json::Deserializer::from_str(resource);
    let head = HeadSeed.deserialize(&mut parser)?;
    parser.end()?;
    Ok(head)
}

/// The head of a resource whose text was read as JSON before: the same as [`head`], but nothing is read that comes after
/// what the head needs.
pub(crate) fn head_of_read(resource: &str) -> Result<Head<'_>, ResourceError> {
    let (mut found, mut typed) = (Head::default(), false);
    for (key, value) in Members::new(resource) {
        let value = &resource[value];
        match key {
            "resourceType" if !typed => (found.resource_type, typed) = (string(value).unwrap_or_default(), true),
            "id" if found.id.is_none() => found.id = string(value).filter(|id| !id.is_empty()),
            "meta" if found.last_updated.is_none() => found.last_updated = last_updated(value),
            // A key may be spelled with escapes.
            _ if key.contains('\\') => return head(resource),
            _ => {}
        }
        if typed && found.id.is_some() && found.last_updated.is_some() {
            break;
        }
    }
    // No object, or one without any of these: the slow way knows which.
    if typed || found.id.is_some() { Ok(found) } else { head(resource) }
}

struct HeadSeed;

impl<'de> DeserializeSeed<'de> for HeadSeed {
    type Value = Head<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Head<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeadSeed {
    type Value = Head<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head<'de>, A::Error> {
        let (mut head, mut typed) = (Head::default(), false);
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::ResourceType if !typed => {
                    head.resource_type = map.next_value::<Lenient<'de>>()?.0.unwrap_or_default();
                    typed = true;
                }
                Key::Id if head.id.is_none() => {
                    head.id = map.next_value::<Lenient<'de>>()?.0.filter(|id| !id.is_empty());
                }
                Key::Meta if head.last_updated.is_none() => head.last_updated = map.next_value::<Meta<'de>>()?.0,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(head)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum Key {
    #[serde(rename = "resourceType")]
    ResourceType,
    #[serde(rename = "id")]
    Id,
    #[serde(rename = "meta")]
    Meta,
    #[serde(other)]
    Other,
}

/// A string, or nothing where something else stands: real servers put null and numbers in many places. Strings with
/// escapes that are no Unicode (a lone surrogate) count as nothing too.
struct Lenient<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Lenient<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: &'de RawValue = Deserialize::deserialize(deserializer)?;
        Ok(Self(string(raw.get())))
    }
}

/// The value of a JSON string, if it is one.
pub(crate) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

struct Meta<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Meta<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: &'de RawValue = Deserialize::deserialize(deserializer)?;
        Ok(Self(last_updated(raw.get())))
    }
}

/// `lastUpdated` of a `meta`.
pub(crate) fn last_updated(meta: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, default, rename = "lastUpdated")]
        last_updated: Option<&'a RawValue>,
    }
    let fields = serde_json::from_str::<Fields<'_>>(meta).ok();
    fields.and_then(|fields| string(fields.last_updated?.get()))
}

/// Appends the resource as one line, as the server sent it: where it holds line breaks, which JSON allows between
/// tokens only, white space between tokens is left out; otherwise it is copied byte for byte. No line break is added.
pub fn write_line(resource: &str, out: &mut Vec<u8>) {
    let bytes = resource.trim_ascii().as_bytes();
    if memchr::memchr2(b'\n', b'\r', bytes).is_none() {
        out.extend_from_slice(bytes);
        return;
    }
    let (mut start, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at),
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.extend_from_slice(&bytes[start..at]);
                at += 1;
                start = at;
            }
            _ => at += 1,
        }
    }
    out.extend_from_slice(&bytes[start..]);
}

/// The place after the string that begins at `start`.
pub(crate) fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// A hash of a resource's content: equal for equal content, whatever the order of keys, the white space and the server's
/// own stamps `meta.lastUpdated` and `meta.versionId`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 16]);

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Objects and arrays one in another that a resource may have: no guide comes near it, and each takes some of the stack.
const MAX_DEPTH: usize = 256;

/// Hashes a resource: BLAKE3, cut to 128 bits, over a canonical form with sorted keys, keys, numbers and strings as
/// written. A number spelled otherwise (`1.0` for `1`) is other content, since FHIR's decimals keep their precision.
/// The text is taken for JSON, as [`crate::bundle::scan`] hands it out: only its structure is looked at.
///
/// # Errors
/// The text is no JSON object, or one of more than 256 levels.
pub fn content_hash(resource: &str) -> Result<ContentHash, ResourceError> {
    let mut canonical = Canonical { text: resource.as_bytes(), at: 0, out: Vec::with_capacity(resource.len()) };
    let written = (canonical.peek() == Some(b'{')).then(|| canonical.value(Place::Root, MAX_DEPTH)).flatten();
    if written.is_none() || canonical.peek().is_some() {
        return Err(ResourceError::NotAnObject);
    }
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(&canonical.out).as_bytes()[..16]);
    Ok(ContentHash(hash))
}

/// Where an object stands, since the stamps are left out of `meta` of the resource itself only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Meta,
    Deeper,
}

/// Writes the canonical form in one pass over the text. Members are written as they come and put in order once their
/// object is whole: most of the work is copying.
struct Canonical<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

/// A member of an object in the output: where its key begins and ends, and where its value ends.
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

impl Canonical<'_> {
    /// The next byte that is no white space; the place is moved to it.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Copies to a place in the text.
    fn copy(&mut self, end: usize) {
        self.out.extend_from_slice(&self.text[self.at..end]);
        self.at = end;
    }

    fn value(&mut self, place: Place, depth: usize) -> Option<()> {
        match self.peek()? {
            b'{' => self.object(place, depth.checked_sub(1)?),
            b'[' => self.array(depth.checked_sub(1)?),
            b'"' => {
                self.copy(string_end(self.text, self.at));
                Some(())
            }
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                let rest = &self.text[self.at..];
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                self.copy(self.at + length);
                (length > 0).then_some(())
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push(b'[');
        if self.peek()? != b']' {
            loop {
                self.value(Place::Deeper, depth)?;
                if self.peek()? != b',' {
                    break;
                }
                self.at += 1;
                self.out.push(b',');
            }
        }
        self.take(b']')?;
        self.out.push(b']');
        Some(())
    }

    fn object(&mut self, place: Place, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push(b'{');
        let mut members: Vec<Member> = Vec::new();
        if self.peek()? != b'}' {
            loop {
                members.extend(self.member(place, depth)?);
                if self.peek()? != b',' {
                    break;
                }
                self.at += 1;
            }
        }
        self.take(b'}')?;
        self.put_in_order(&mut members);
        self.out.push(b'}');
        Some(())
    }

    /// Writes a member; nothing is left of it in the output where it is one of the server's stamps.
    fn member(&mut self, place: Place, depth: usize) -> Option<Option<Member>> {
        let start = self.out.len();
        if self.peek()? != b'"' {
            return None;
        }
        self.copy(string_end(self.text, self.at));
        let key_end = self.out.len();
        self.take(b':')?;
        let key = &self.out[start..key_end];
        let stamp = place == Place::Meta && matches!(key, b"\"lastUpdated\"" | b"\"versionId\"");
        let inner = if place == Place::Root && key == b"\"meta\"" { Place::Meta } else { Place::Deeper };
        self.out.push(b':');
        self.value(inner, depth)?;
        // A `meta` that holds nothing but stamps is as good as none.
        if stamp || (inner == Place::Meta && &self.out[key_end + 1..] == b"{}") {
            self.out.truncate(start);
            return Some(None);
        }
        self.out.push(b',');
        Some(Some(Member { start, key_end, end: self.out.len() }))
    }

    fn put_in_order(&mut self, members: &mut [Member]) {
        let out = &self.out;
        let in_order = |pair: &[Member]| out[pair[0].start..pair[0].key_end] <= out[pair[1].start..pair[1].key_end];
        if members.windows(2).all(in_order) {
            return;
        }
        let Some(from) = members.first().map(|first| first.start) else { return };
        members.sort_by(|a, b| out[a.start..a.key_end].cmp(&out[b.start..b.key_end]));
        let mut ordered = Vec::with_capacity(out.len() - from);
        for member in members.iter() {
            ordered.extend_from_slice(&out[member.start..member.end]);
        }
        self.out.truncate(from);
        self.out.extend_from_slice(&ordered);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_head_is_found_wherever_it_stands_and_whatever_stands_there() {
        for (text, resource_type, id, last_updated) in [
            (
                r#"{"id":"a","meta":{"versionId":"1","lastUpdated":"2020-01-01T00:00:00Z"},"resourceType":"Location"}"#,
                "Location",
                Some("a"),
                Some("2020-01-01T00:00:00Z"),
            ),
            (r#"{"resourceType":"Location","id":7,"meta":"x"}"#, "Location", None, None),
            (r#"{"resourceType":"Location","id":"","meta":null}"#, "Location", None, None),
            (r#"{"resourceType":"Location","id":"a","id":"b"}"#, "Location", Some("a"), None),
            (r#"{"resourceType":"Location","id":"\u0061"}"#, "Location", Some("a"), None),
            (r#"{"resourceType":"Location","id":"\ud800"}"#, "Location", None, None),
            (r#"{"contained":[{"resourceType":"X","id":"inner"}]}"#, "", None, None),
        ] {
            let head = head(text).unwrap();
            assert_eq!(
                (&*head.resource_type, head.id.as_deref(), head.last_updated.as_deref()),
                (resource_type, id, last_updated),
                "{text}"
            );
        }
        assert!(head("[]").is_err());
        assert!(head("{} {}").is_err());
    }

    #[test]
    fn a_line_keeps_every_byte_but_the_space_between_tokens() {
        for (text, line) in
            [("{ \"a\": 1 }", "{ \"a\": 1 }"), ("{\n  \"a b\\\" c\": [1.0,\r\n 2]\n}\n", "{\"a b\\\" c\":[1.0,2]}")]
        {
            let mut out = Vec::new();
            write_line(text, &mut out);
            assert_eq!(std::str::from_utf8(&out).unwrap(), line);
        }
    }

    #[test]
    fn content_is_equal_whatever_the_order_and_the_stamps() {
        let hash = |text: &str| content_hash(text).unwrap();
        let plain = hash(r#"{"resourceType":"Location","id":"a","name":"x"}"#);
        for same in [
            r#"{"name":"x","id":"a","resourceType":"Location"}"#,
            r#"{"resourceType":"Location","id":"a","meta":{"lastUpdated":"2020"},"name":"x"}"#,
            "{ \"resourceType\":\"Location\",\n\"id\":\"a\", \"name\" : \"x\", \"meta\":{\"versionId\":\"2\"} }",
        ] {
            assert_eq!(hash(same), plain, "{same}");
        }
        for other in [
            r#"{"resourceType":"Location","id":"a","name":"y"}"#,
            r#"{"resourceType":"Location","id":"a","name":"x","meta":{"profile":["p"]}}"#,
            r#"{"resourceType":"Location","id":"a","name":["x"]}"#,
        ] {
            assert_ne!(hash(other), plain, "{other}");
        }
    }

    #[test]
    fn what_is_no_object_has_no_hash() {
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(content_hash(&deep(255)).is_ok());
        for text in ["", "[]", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{} {}", "{\"a", "{\"a\":[1}", &deep(100_000)]
        {
            assert!(content_hash(text).is_err(), "{}", &text[..text.len().min(20)]);
        }
    }

    proptest! {
        #[test]
        fn the_quick_look_for_a_head_finds_the_same(
            members in prop::collection::vec(
                (
                    prop::sample::select(vec!["id", "meta", "resourceType", "x", "\\u0069d", "a\\\"b"]),
                    prop::sample::select(vec![
                        r#""a""#, r#""""#, "7", "null", r#"{"lastUpdated": "2020" , "id":"no"}"#, "{ }", r#"[{"id":["}"]},"\\"]"#,
                        r#"{"meta":{"lastUpdated":"x"}}"#, "-1.5e3", "true", r#"{"lastUpdated":4}"#, r#""\ud800""#,
                    ]),
                ),
                0..7,
            ),
            space in prop::sample::select(vec!["", " ", "\n\t"]),
        ) {
            let members: Vec<_> =
                members.iter().map(|(key, value)| format!("{space}\"{key}\"{space}:{space}{value}{space}")).collect();
            let text = format!("{{{}}}", members.join(","));
            prop_assert_eq!(head_of_read(&text).unwrap(), head(&text).unwrap(), "{}", text);
        }

        #[test]
        fn content_does_not_depend_on_the_order_of_keys(
            keys in prop::collection::btree_map("[a-z]{1,3}", any::<i32>(), 0..8),
            inner in prop::collection::btree_map("[a-z]{1,3}", any::<i32>(), 0..8),
        ) {
            let inner = |reverse: bool| {
                let mut parts: Vec<_> = inner.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                if reverse { parts.reverse() }
                format!("[{{{}}}]", parts.join(" ,"))
            };
            let text = |reverse: bool| {
                let mut parts: Vec<_> = keys.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                parts.push(format!("\"zzzz\":{}", inner(reverse)));
                if reverse { parts.reverse() }
                format!("{{{}}}", parts.join(","))
            };
            prop_assert_eq!(content_hash(&text(false)).unwrap(), content_hash(&text(true)).unwrap());
        }

        #[test]
        fn a_line_reads_as_the_same_json(keys in prop::collection::btree_map("[a-z\\\\\" \n]{0,8}", any::<i32>(), 0..6)) {
            let value = serde_json::to_value(&keys).unwrap();
            let mut out = Vec::new();
            write_line(&serde_json::to_string_pretty(&value).unwrap(), &mut out);
            prop_assert!(!out.contains(&b'\n'));
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), value);
        }
    }
}
