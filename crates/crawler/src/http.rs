//! The network end of the transport: reqwest with rustls, one total time limit, a limit on the decompressed body, and
//! redirects by the rule for origins. Credentials are added here and nowhere else, by the origin of each request.

use std::{io::Read, time::Duration};

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures_util::StreamExt;
use reqwest::{
    Client,
    header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, LOCATION},
    redirect::Policy,
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    source::{Credentials, Limits, Source, shown},
    transport::{Form, Incoming, Reply, Request, RequestKind, Transport, TransportError},
};

/// Redirects followed for one request.
const MOST_REDIRECTS: u32 = 5;

/// Some servers answer 406 to `application/fhir+json` alone.
const ACCEPTED: &str = "application/fhir+json, application/json;q=0.9";

/// What the Bulk Data guide says to ask for, and what servers give.
const ACCEPTED_FILE: &str = "application/fhir+ndjson, application/ndjson;q=0.9, */*;q=0.5";

/// The room made for a body before it comes: more is made when more is there.
const LARGEST_PROMISE: usize = 4 << 20;

/// No file of an export takes longer.
const LONGEST_DOWNLOAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Asks over HTTP, with the credentials of the source where it may see them.
#[derive(Debug)]
pub struct Http {
    client: Client,
    source: Source,
    header: Option<(HeaderName, HeaderValue)>,
    timeout: Duration,
    max_bytes: usize,
}

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// reqwest refuses, for example because the system has no root certificates.
    #[error("the HTTP client cannot be built")]
    Build(#[from] reqwest::Error),
    /// The header's name or the secret holds characters that HTTP does not allow. The secret is not shown.
    #[error(
        "the credentials cannot be sent as the HTTP header {name:?}: check its name, and the secret for line breaks"
    )]
    Header {
        /// The header's name.
        name: String,
    },
}

impl Http {
    /// A client for one source.
    ///
    /// # Errors
    /// The credentials are no HTTP header, or TLS cannot be set up.
    pub fn new(source: Source, limits: &Limits) -> Result<Self, ClientError> {
        let client = Client::builder()
            .user_agent(concat!("fhirvest/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .timeout(limits.request_timeout)
            .build()?;
        let header = header(&source.credentials)?;
        Ok(Self { client, source, header, timeout: limits.request_timeout, max_bytes: limits.max_page_bytes })
    }

    async fn once(&self, url: &Url, asked: &Request) -> Result<reqwest::Response, TransportError> {
        let mut request = match &asked.form {
            Some(Form { fields, authorization }) => {
                let shown: Vec<_> = fields.iter().map(|(name, value)| (name, value.expose_secret())).collect();
                let request = self.client.post(url.clone()).form(&shown);
                let value = authorization.as_ref().and_then(|text| HeaderValue::try_from(text.expose_secret()).ok());
                value.into_iter().fold(request, |request, mut value| {
                    value.set_sensitive(true);
                    request.header(AUTHORIZATION, value)
                })
            }
            None => self.client.get(url.clone()),
        };
        request = match asked.kind {
            RequestKind::Fhir => request.header(ACCEPT, ACCEPTED),
            RequestKind::Export => request.header(ACCEPT, ACCEPTED).header("Prefer", "respond-async"),
            RequestKind::Token => request.header(ACCEPT, "application/json"),
            // A file has as long as it takes: its reader watches that it goes on.
            RequestKind::Ndjson => request.header(ACCEPT, ACCEPTED_FILE).timeout(LONGEST_DOWNLOAD),
        };
        // A form holds what it needs, and goes nowhere but to the address that the job names.
        let may_see = !asked.anonymous && asked.form.is_none() && self.source.may_see_credentials(url);
        if let Some(token) = asked.bearer.as_ref().filter(|_| may_see) {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some((name, value)) = self.header.as_ref().filter(|_| may_see) {
            request = request.header(name, value);
        }
        request.send().await.map_err(|error| told(error, self.timeout))
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Bytes, TransportError> {
        // What the server promises is believed for the room only.
        let promised = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut body = BytesMut::with_capacity(promised.min(self.max_bytes).min(LARGEST_PROMISE));
        while let Some(chunk) = response.chunk().await.map_err(|error| told(error, self.timeout))? {
            if body.len() + chunk.len() > self.max_bytes {
                return Err(TransportError::TooLarge { limit: self.max_bytes });
            }
            body.extend_from_slice(&chunk);
        }
        unpacked(body.freeze(), self.max_bytes)
    }
}

impl Http {
    /// The answer to a request, after redirects to trusted origins.
    async fn answer(&self, request: &Request) -> Result<(reqwest::Response, Url), TransportError> {
        let mut url = request.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.once(&url, request).await?;
            if !response.status().is_redirection() {
                return Ok((response, url));
            }
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = target.and_then(|text| url.join(text).ok()).map(|mut target| {
                let _ = (target.set_username(""), target.set_password(None));
                target
            });
            match target {
                Some(target) if request.form.is_none() && self.source.may_receive(&target) => url = target,
                other => {
                    let target = other.map_or_else(|| "nowhere".to_owned(), |target| shown(&target));
                    return Err(TransportError::Redirect { target });
                }
            }
        }
        Err(TransportError::Redirect { target: shown(&url) })
    }
}

impl Transport for Http {
    async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        let (response, url) = self.answer(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, body: self.body(response).await?, url })
    }

    async fn open(&self, request: &Request) -> Result<Incoming, TransportError> {
        let (response, url) = self.answer(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let timeout = self.timeout;
        let body = response.bytes_stream().map(move |chunk| chunk.map_err(|error| told(error, timeout))).boxed();
        Ok(Incoming { status, headers, url, body })
    }
}

fn told(error: reqwest::Error, limit: Duration) -> TransportError {
    // The address goes without its query: it may hold a key.
    let error = error.without_url();
    if error.is_timeout() {
        TransportError::Timeout { limit }
    } else if error.is_connect() {
        TransportError::Connect(error.into())
    } else {
        TransportError::Broken(error.into())
    }
}

/// A body that is gzip although no header says so, unpacked within the same limit; any other as it is. JSON never begins
/// with these two bytes.
fn unpacked(body: Bytes, limit: usize) -> Result<Bytes, TransportError> {
    if !body.starts_with(&[0x1f, 0x8b]) {
        return Ok(body);
    }
    let mut plain = Vec::new();
    // One byte more than allowed tells that there is more.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let unpacking = MultiGzDecoder::new(body.as_ref()).take(most).read_to_end(&mut plain);
    unpacking.map_err(|error| TransportError::Broken(error.into()))?;
    if plain.len() > limit { Err(TransportError::TooLarge { limit }) } else { Ok(plain.into()) }
}

fn header(credentials: &Credentials) -> Result<Option<(HeaderName, HeaderValue)>, ClientError> {
    let (name, text) = match credentials {
        // Tokens are added to each request by who asks for them.
        Credentials::None | Credentials::Client { .. } | Credentials::Held(_) => return Ok(None),
        Credentials::Header { name, value } => (name.clone(), value.clone()),
        Credentials::Bearer { token } => {
            (AUTHORIZATION.to_string(), SecretString::from(format!("Bearer {}", token.expose_secret())))
        }
        Credentials::Basic { username, password } => {
            use base64::Engine;
            let pair = format!("{username}:{}", password.expose_secret());
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            (AUTHORIZATION.to_string(), SecretString::from(format!("Basic {pair}")))
        }
    };
    let wrong = || ClientError::Header { name: name.clone() };
    let header = HeaderName::try_from(&name).map_err(|_| wrong())?;
    let mut value = HeaderValue::try_from(text.expose_secret()).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok(Some((header, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_known_by_its_first_bytes_and_bounded() {
        use std::io::Write;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&[b' '; 1000]).unwrap();
        let packed = Bytes::from(packer.finish().unwrap());
        assert_eq!(unpacked(packed.clone(), 1000).unwrap().len(), 1000);
        assert!(matches!(unpacked(packed.clone(), 999), Err(TransportError::TooLarge { limit: 999 })));
        assert!(matches!(unpacked(packed.slice(..packed.len() / 2), 1000), Err(TransportError::Broken(_))));
        assert_eq!(unpacked(Bytes::from_static(b"{}"), 1).unwrap(), "{}");
    }

    #[test]
    fn credentials_become_headers_that_are_not_shown() {
        let basic = Credentials::Basic { username: "a".into(), password: SecretString::from("b") };
        let (name, value) = header(&basic).unwrap().unwrap();
        assert_eq!((name, value.as_bytes(), value.is_sensitive()), (AUTHORIZATION, b"Basic YTpi".as_slice(), true));
        let broken = Credentials::Header { name: "x-key".into(), value: SecretString::from("two\nlines") };
        let error = header(&broken).unwrap_err().to_string();
        assert!(error.contains("x-key") && !error.contains("two"), "{error}");
    }
}
