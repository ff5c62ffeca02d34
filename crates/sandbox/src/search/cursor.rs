//! The opaque token of a next link. It carries the whole search, so a sandbox that was started again with the same
//! world still honours it; a token that was tampered with, or comes from another world, is gone (410) as on a server
//! whose search results expired.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) resource: String,
    /// The applied parameters, encoded as a query string.
    pub(crate) query: String,
}

impl Cursor {
    /// The token. `seal` binds it to one mount of one world.
    pub(crate) fn token(&self, seal: u64) -> String {
        let body = format!("{}?{}", self.resource, self.query);
        let sealed = format!("{:016x}{body}", checksum(seal, &body));
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// Reads a token; `None` when it is not one of this world.
    pub(crate) fn parse(token: &str, seal: u64) -> Option<Self> {
        let sealed = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (sum, body) = sealed.split_at_checked(16)?;
        if u64::from_str_radix(sum, 16).ok()? != checksum(seal, body) {
            return None;
        }
        let (resource, query) = body.split_once('?')?;
        Some(Self { resource: resource.to_owned(), query: query.to_owned() })
    }
}

/// FNV-1a, 64 bits: short, stable over versions of the compiler, and enough against accidents.
pub(crate) fn checksum(seed: u64, text: &str) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    text.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_search_in_its_world_only() {
        let cursor = Cursor { resource: "Practitioner".into(), query: "family=a&_lastUpdated=ge2020".into() };
        let token = cursor.token(7);
        assert_eq!(Cursor::parse(&token, 7), Some(cursor));
        assert_eq!(Cursor::parse(&token, 8), None);
        assert_eq!(Cursor::parse("nonsense", 7), None);
        assert_eq!(Cursor::parse("", 7), None);
    }
}
