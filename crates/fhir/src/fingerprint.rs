//! A quick hash of a resource as it is written, for telling within one crawl whether the same comes again.

use xxhash_rust::xxh3::Xxh3;

use crate::members::Members;

/// XXH3 (128 bits) of the text of a resource without the values of the server's own stamps, `meta.lastUpdated` and
/// `meta.versionId`: equal for a resource that is written again in the same way. Another order of keys is another
/// fingerprint; [`crate::resource::content_hash`] sees through that, at many times the cost. It is no protection against
/// contents that are made up to collide: a server that wants to hide a content may as well not send it.
///
/// The text is taken for a JSON object, as [`crate::bundle::scan`] hands it out.
#[must_use]
pub fn fingerprint(resource: &str) -> [u8; 16] {
    let meta = Members::new(resource).find(|(key, _)| *key == "meta").map(|(_, range)| range);
    let meta = meta.filter(|range| resource[range.clone()].starts_with('{'));
    let (mut hasher, mut from) = (Xxh3::new(), 0);
    if let Some(meta) = meta {
        for (key, value) in Members::new(&resource[meta.clone()]) {
            if matches!(key, "lastUpdated" | "versionId") {
                hasher.update(&resource.as_bytes()[from..meta.start + value.start]);
                from = meta.start + value.end;
            }
        }
    }
    hasher.update(&resource.as_bytes()[from..]);
    hasher.digest128().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_content_without_the_servers_stamps() {
        let plain = r#"{"resourceType":"X","meta":{"versionId":"1","lastUpdated":"2020-01-01T00:00:00Z"},"id":"a"}"#;
        for (other, same) in [
            (plain.replace("2020", "2021"), true),
            (plain.replace(r#""1""#, r#""12""#), true),
            (plain.replace("2020", "2021").replace(r#""1""#, r#""2""#), true),
            (plain.replace(r#""a""#, r#""b""#), false),
            (plain.replace("lastUpdated", "profile"), false),
            (plain.replace('X', "Y"), false),
            (plain.replace(r#""meta":{"#, r#""contained":{"#), false),
        ] {
            assert_eq!(fingerprint(plain) == fingerprint(&other), same, "{other}");
        }
        for odd in ["{}", r#"{"meta":null}"#, r#"{"meta":"{"}"#, r#"{"meta":{}}"#, "", "[", r#"{"meta":{"versionId"#] {
            assert_ne!(fingerprint(odd), fingerprint(plain), "{odd}");
        }
    }
}
