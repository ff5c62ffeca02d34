//! Where a crawl goes: the base URL, the credentials and who may see them, and the limits.

use std::{fmt, time::Duration};

use secrecy::SecretString;
use url::{Origin, Url};

use crate::oauth::{HeldTokens, OAuthClient};

/// What authorizes requests. Never shown, not even by `Debug`.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// A header of the publisher's choice.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretString,
    },
    /// `Authorization: Bearer`.
    Bearer {
        /// The token.
        token: SecretString,
    },
    /// `Authorization: Basic`.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// Tokens that a client asks for in its own name (OAuth 2.0 client credentials).
    Client {
        /// Who asks whom.
        client: OAuthClient,
        /// What it asks for.
        scopes: Vec<String>,
    },
    /// Tokens that a person has granted.
    Held(HeldTokens),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Header { .. } => "Header",
            Self::Bearer { .. } => "Bearer",
            Self::Basic { .. } => "Basic",
            Self::Client { .. } => "Client",
            Self::Held(_) => "Held",
        })
    }
}

/// An origin besides the base URL's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedOrigin {
    /// Its scheme, host and port.
    pub origin: Origin,
    /// Whether it may see the credentials.
    pub credentials: bool,
}

/// A replacement in a link that the server gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The text to look for.
    pub from: String,
    /// What to put in its place.
    pub to: String,
}

/// A FHIR server as one job sees it.
#[derive(Debug, Clone)]
pub struct Source {
    /// The base URL; its path always ends with `/`.
    base_url: Url,
    /// What authorizes requests to it.
    pub credentials: Credentials,
    /// Origins besides its own that may receive requests.
    pub trusted_origins: Vec<TrustedOrigin>,
    /// Replacements in the links that it gives, in order.
    pub rewrite_next: Vec<Rewrite>,
    /// Whether its data are about persons: then nothing is shown that the server says in its own words, and no value of
    /// a search.
    pub sensitive: bool,
}

impl Source {
    /// A server without credentials, trusted origins or rewrites.
    #[must_use]
    pub fn new(mut base_url: Url) -> Self {
        if !base_url.path().ends_with('/') {
            let path = format!("{}/", base_url.path());
            base_url.set_path(&path);
        }
        Self {
            base_url,
            credentials: Credentials::None,
            trusted_origins: Vec::new(),
            rewrite_next: Vec::new(),
            sensitive: false,
        }
    }

    /// The base URL; its path ends with `/`.
    #[must_use]
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// Whether requests may go to an address at all.
    #[must_use]
    pub fn may_receive(&self, url: &Url) -> bool {
        let origin = url.origin();
        origin == self.base_url.origin() || self.trusted_origins.iter().any(|trusted| trusted.origin == origin)
    }

    /// Whether an address may see the credentials.
    #[must_use]
    pub fn may_see_credentials(&self, url: &Url) -> bool {
        let origin = url.origin();
        origin == self.base_url.origin()
            || self.trusted_origins.iter().any(|trusted| trusted.credentials && trusted.origin == origin)
    }

    /// An address relative to the base where it lies under it, so that a kept cursor survives a base that moves.
    #[must_use]
    pub fn relative(&self, url: &Url) -> String {
        url.as_str().strip_prefix(self.base_url.as_str()).unwrap_or(url.as_str()).to_owned()
    }

    /// The address of a kept cursor.
    ///
    /// # Errors
    /// The text is no address.
    pub fn absolute(&self, cursor: &str) -> Result<Url, url::ParseError> {
        // Not `join`: the first segment may hold a colon, as in `Location:x`, which would read as a scheme.
        match Url::parse(cursor) {
            Ok(url) if url.has_host() => Ok(url),
            _ => Url::parse(&format!("{}{cursor}", self.base_url)),
        }
    }
}

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Requests a second to the host, retries included; 0 means no limit.
    pub requests_per_second: f64,
    /// Requests that may go out at once after a pause.
    pub burst: u32,
    /// Requests in flight.
    pub concurrency: usize,
}

/// What a crawl may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For one whole response, to its last byte: a server that trickles must not hold a night's crawl.
    pub request_timeout: Duration,
    /// Of one page, decompressed: what a page may take of the memory.
    pub max_page_bytes: usize,
    /// Attempts after the first, for one request.
    pub max_retries: u32,
    /// The longest wait that the server may ask for; beyond it the crawl ends and says until when.
    pub max_wait: Duration,
    /// Pages of one partition.
    pub max_pages: u64,
    /// Times a partition is started anew after its cursor was lost.
    pub max_restarts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(60),
            max_page_bytes: 64 << 20,
            max_retries: 6,
            max_wait: Duration::from_secs(15 * 60),
            max_pages: 1_000_000,
            max_restarts: 2,
        }
    }
}

/// Query parameters whose values never go to a log.
const SECRET_PARAMETERS: [&str; 8] =
    ["apikey", "api_key", "api-key", "key", "access_token", "token", "code", "client_secret"];

/// Query parameters that are known to be no secret: paging and counting. All other values are left out of logs, since a
/// search may hold a member's name or number.
const PLAIN_PARAMETERS: [&str; 12] = [
    "_count",
    "_getpages",
    "_getpagesoffset",
    "_offset",
    "_skip",
    "page",
    "_sort",
    "_total",
    "_summary",
    "_format",
    "_lastUpdated",
    "_bundletype",
];

/// An address for logs and messages: without user name and password, without the id of a resource in its path, and with
/// only such values in its query as say nothing of a person or a secret.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = (shown.set_username(""), shown.set_password(None));
    let mut after_type = false;
    let hidden = url.path().split('/').map(|part| {
        let is_id = after_type && !part.is_empty() && !part.starts_with(['$', '_']);
        after_type = fhirvest_fhir::elements::is_resource(part);
        if is_id { "…" } else { part }
    });
    let path = hidden.collect::<Vec<_>>().join("/");
    let pairs: Vec<(String, String)> = url
        .query_pairs()
        .map(|(name, value)| {
            let plain = PLAIN_PARAMETERS.contains(&&*name) && !SECRET_PARAMETERS.contains(&&*name.to_lowercase());
            let value = if plain { value.chars().take(40).collect() } else { "…".to_owned() };
            (name.into_owned(), value)
        })
        .collect();
    shown.set_query(None);
    shown.set_fragment(None);
    shown.set_path("");
    let shown = format!("{}{path}", shown.as_str().trim_end_matches('/'));
    let query: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    if query.is_empty() { shown } else { format!("{shown}?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_kept_relative_and_read_back() {
        let source = Source::new(Url::parse("https://a.example/fhir").unwrap());
        for (url, kept) in [
            ("https://a.example/fhir/Location?_count=5", "Location?_count=5"),
            ("https://a.example/fhir/?_getpages=x", "?_getpages=x"),
            ("https://a.example/other?x=1", "https://a.example/other?x=1"),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(source.relative(&url), kept);
            assert_eq!(source.absolute(kept).unwrap(), url);
        }
    }

    #[test]
    fn what_is_shown_holds_no_secret_and_no_search_value() {
        let url =
            Url::parse("https://me:pw@a.example/r4/Patient?name=Smith&apikey=abc&_count=50&_getpages=t#x").unwrap();
        assert_eq!(shown(&url), "https://a.example/r4/Patient?name=…&apikey=…&_count=50&_getpages=t");
        for (url, text) in [
            ("https://a.example/r4/Patient/12", "https://a.example/r4/Patient/…"),
            (
                "https://a.example:8443/Patient/12/$everything?_count=5",
                "https://a.example:8443/Patient/…/$everything?_count=5",
            ),
            ("https://a.example/Patient/_search", "https://a.example/Patient/_search"),
            ("https://a.example/Group/$export", "https://a.example/Group/$export"),
            ("https://a.example/", "https://a.example/"),
        ] {
            assert_eq!(shown(&Url::parse(url).unwrap()), text);
        }
        let credentials = Credentials::Bearer { token: SecretString::from("hush") };
        assert_eq!(format!("{credentials:?}"), "Bearer");
    }

    #[test]
    fn only_the_own_origin_sees_credentials_unless_told() {
        let mut source = Source::new(Url::parse("https://a.example/fhir").unwrap());
        let other = Url::parse("https://b.example/x").unwrap();
        assert!(!source.may_receive(&other));
        source.trusted_origins.push(TrustedOrigin { origin: other.origin(), credentials: false });
        assert!(source.may_receive(&other) && !source.may_see_credentials(&other));
        assert!(!source.may_receive(&Url::parse("http://a.example/fhir").unwrap()));
    }
}
