//! References between resources (R4, Reference.reference): relative, absolute, versioned, `urn:uuid`, contained.

use std::borrow::Cow;

/// What a reference's text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `Practitioner/1`, `https://a.example/fhir/Practitioner/1`, either with `/_history/2`.
    Literal {
        /// The server's base URL, without a slash at the end; absent where the reference is relative.
        base: Option<&'a str>,
        /// The resource type.
        resource_type: &'a str,
        /// The id.
        id: &'a str,
    },
    /// `urn:uuid:…`.
    Urn {
        /// The UUID.
        uuid: &'a str,
    },
    /// `#id`: a resource within the resource.
    Contained {
        /// Its id there.
        id: &'a str,
    },
    /// Something else: a canonical URL, a text.
    Other,
}

impl<'a> Reference<'a> {
    /// Reads a reference's text.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        if let Some(plain) = Self::relative(text) {
            return plain;
        }
        let text = text.trim();
        if let Some(id) = text.strip_prefix('#') {
            return Self::Contained { id };
        }
        if let Some(uuid) = text.strip_prefix("urn:uuid:") {
            return Self::Urn { uuid };
        }
        let whole = match text.split_once("/_history/") {
            Some((whole, _)) => whole,
            None => text,
        };
        let Some((rest, id)) = whole.rsplit_once('/') else { return Self::Other };
        let (base, resource_type) = match rest.rsplit_once('/') {
            Some((base, resource_type)) => (Some(base), resource_type),
            None => (None, rest),
        };
        if is_type(resource_type) && is_id(id) { Self::Literal { base, resource_type, id } } else { Self::Other }
    }

    /// `Practitioner/1`, which nearly all are, in one pass.
    fn relative(text: &'a str) -> Option<Self> {
        let (resource_type, rest) = text.split_at(text.bytes().position(|byte| !byte.is_ascii_alphanumeric())?);
        let id = rest.strip_prefix('/')?;
        (is_type(resource_type) && is_id(id)).then_some(Self::Literal { base: None, resource_type, id })
    }

    /// The key of a reference's text, as [`Reference::key`] gives it; of the usual ones at once.
    #[must_use]
    pub fn key_in(text: &'a str, of_type: Option<&str>) -> Option<&'a str> {
        let id = of_type.and_then(|name| text.strip_prefix(name)?.strip_prefix('/'));
        match id.filter(|id| is_id(id) && of_type.is_some_and(is_type)) {
            Some(id) => Some(id),
            None => Self::parse(text).key(of_type),
        }
    }

    /// The key that joins to the resource: the bare id, or a `urn:uuid`'s UUID. Nothing where the reference does not
    /// lead to a resource of its own, or to one of another type than asked for (SQL on FHIR, `getReferenceKey`).
    #[must_use]
    pub fn key(self, of_type: Option<&str>) -> Option<&'a str> {
        match self {
            Self::Literal { resource_type, id, .. } => of_type.is_none_or(|name| name == resource_type).then_some(id),
            Self::Urn { uuid } => Some(uuid),
            Self::Contained { .. } | Self::Other => None,
        }
    }
}

/// A resource type's name, as far as its form tells.
fn is_type(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// FHIR's `id`: up to 64 letters, digits, hyphens and dots. Real servers use underscores, and longer ones, too.
fn is_id(text: &str) -> bool {
    // Ids are short: to look at all of one is quicker than to stop at the first byte that is none of theirs.
    !text.is_empty() && text.len() <= 256 && text.bytes().fold(true, |all, byte| all & OF_IDS[usize::from(byte)])
}

/// For each byte whether ids have it.
const OF_IDS: [bool; 256] = {
    let mut of_ids = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        of_ids[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':');
        byte += 1;
    }
    of_ids
};

/// What the references in a resource's JSON lead to, as (type, id), in their order: the values of all keys named
/// `reference`, found on the text without parsing the resource. Contained resources, `urn:uuid` and what is no
/// reference are left out; the same target may come more than once.
pub fn targets(resource: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    const KEY: &str = "\"reference\"";
    let mut rest = resource;
    std::iter::from_fn(move || {
        loop {
            let at = rest.find(KEY)?;
            rest = &rest[at + KEY.len()..];
            let Some(value) = rest.trim_start().strip_prefix(':').map(str::trim_start) else { continue };
            let Some(text) = value.strip_prefix('"') else { continue };
            let end = string_end(text)?;
            let (text, after) = text.split_at(end);
            rest = after;
            if !text.contains('\\') {
                if let Reference::Literal { resource_type, id, .. } = Reference::parse(text) {
                    return Some((Cow::Borrowed(resource_type), Cow::Borrowed(id)));
                }
                continue;
            }
            let Ok(text) = serde_json::from_str::<String>(&format!("\"{text}\"")) else { continue };
            if let Reference::Literal { resource_type, id, .. } = Reference::parse(&text) {
                return Some((Cow::Owned(resource_type.to_owned()), Cow::Owned(id.to_owned())));
            }
        }
    })
}

/// The place of the quote that ends a JSON string.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_to_keys() {
        for (text, of_type, key) in [
            ("Practitioner/1", None, Some("1")),
            ("Practitioner/1", Some("Practitioner"), Some("1")),
            ("Practitioner/1", Some("Organization"), None),
            ("https://a.example/fhir/Practitioner/1", Some("Practitioner"), Some("1")),
            ("Practitioner/1/_history/3", None, Some("1")),
            ("https://a.example/fhir/Practitioner/a-1.x/_history/3", None, Some("a-1.x")),
            (
                "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
                Some("Patient"),
                Some("0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"),
            ),
            ("#inner", None, None),
            ("https://a.example/some page", None, None),
            ("just text", None, None),
            ("", None, None),
        ] {
            assert_eq!(Reference::parse(text).key(of_type), key, "{text} as {of_type:?}");
        }
    }

    #[test]
    fn targets_are_found_on_the_text() {
        let resource = r##"{"a":{"reference" : "Practitioner/p1","display":"\"reference\":\"X/1\""},
            "b":[{"reference":"https://a.example/Location/l1/_history/2"},{"reference":"#x"},{"reference":null}],
            "c":{"reference":"urn:uuid:1"},"d":{"reference":"Organization\/o\u0031"},"e":{"reference":"cut"##;
        let found: Vec<_> = targets(resource).map(|(of, id)| format!("{of} {id}")).collect();
        assert_eq!(found, ["Practitioner p1", "Location l1", "Organization o1"]);
    }
}
