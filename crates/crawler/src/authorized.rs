//! Tokens that are asked for and that end: OAuth 2.0 client credentials (RFC 6749, section 4.4). A token is kept in
//! memory, asked for anew shortly before it ends, and once when the server rejects one that it took before (habit 26 of
//! the crawling notes). Stands outside of the limiter, so that asking for a token pays as well.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use crate::{
    source::{Credentials, Source},
    transport::{Form, Incoming, Reply, Request, RequestKind, Transport, TransportError},
};

/// A token is not used in the last moments of its life: a request may be on its way for so long.
const BEFORE_ITS_END: Duration = Duration::from_secs(30);

/// Adds tokens to requests, where the source asks for tokens.
pub struct Authorized<T> {
    inner: T,
    source: Source,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: SecretString,
    ends: Option<Instant>,
    /// The server has taken it.
    taken: bool,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    expires_in: Option<u64>,
}

impl<T: Transport> Authorized<T> {
    /// Adds tokens to the requests of a source to `inner`.
    pub fn new(inner: T, source: Source) -> Self {
        Self { inner, source, token: Mutex::new(None) }
    }

    /// The request with a token, if the source has tokens and the address may see one.
    async fn with_token(&self, request: &Request) -> Result<Request, TransportError> {
        let mut request = request.clone();
        let Credentials::ClientCredentials { token_url, client_id, client_secret, scopes } = &self.source.credentials
        else {
            return Ok(request);
        };
        if request.anonymous || !self.source.may_see_credentials(&request.url) {
            return Ok(request);
        }
        // Held while a token is asked for: the other requests wait for it instead of asking for their own.
        let mut token = self.token.lock().await;
        let lives = |token: &Token| token.ends.is_none_or(|ends| Instant::now() < ends);
        if !token.as_ref().is_some_and(lives) {
            *token = Some(self.ask(token_url, client_id.as_deref(), client_secret.as_ref(), scopes).await?);
        }
        request.bearer = token.as_ref().map(|token| token.text.clone());
        Ok(request)
    }

    async fn ask(
        &self,
        url: &Url,
        client_id: Option<&str>,
        client_secret: Option<&SecretString>,
        scopes: &[String],
    ) -> Result<Token, TransportError> {
        let mut form = vec![("grant_type".to_owned(), SecretString::from("client_credentials"))];
        form.extend(client_id.map(|id| ("client_id".to_owned(), SecretString::from(id))));
        form.extend(client_secret.map(|secret| ("client_secret".to_owned(), secret.clone())));
        if !scopes.is_empty() {
            form.push(("scope".to_owned(), SecretString::from(scopes.join(" "))));
        }
        let request = Request { kind: RequestKind::Token, form: Some(Form(form)), ..Request::new(url.clone()) };
        let reply = self.inner.send(&request).await?;
        if !matches!(reply.status, 200..=299) {
            return Err(TransportError::Token { status: reply.status });
        }
        let answer: Answer =
            serde_json::from_slice(&reply.body).map_err(|_| TransportError::Token { status: reply.status })?;
        let life = answer.expires_in.map(|seconds| Duration::from_secs(seconds).saturating_sub(BEFORE_ITS_END));
        Ok(Token { text: answer.access_token, ends: life.map(|life| Instant::now() + life), taken: false })
    }

    /// Takes note of what the server thinks of the token; an error where another one should be tried.
    async fn judged(&self, request: &Request, status: u16) -> Result<(), TransportError> {
        let Some(used) = &request.bearer else { return Ok(()) };
        let mut token = self.token.lock().await;
        let current = token.as_mut().filter(|token| token.text.expose_secret() == used.expose_secret());
        match (current, status) {
            // Another request has replaced it meanwhile.
            (None, 401) => Err(TransportError::TokenRejected),
            (Some(current), 401) if current.taken => {
                *token = None;
                Err(TransportError::TokenRejected)
            }
            (Some(current), 200..=299) => {
                current.taken = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl<T: Transport> Transport for Authorized<T> {
    async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
        let request = self.with_token(request).await?;
        let reply = self.inner.send(&request).await?;
        self.judged(&request, reply.status).await?;
        Ok(reply)
    }

    async fn open(&self, request: &Request) -> Result<Incoming, TransportError> {
        let request = self.with_token(request).await?;
        let incoming = self.inner.open(&request).await?;
        self.judged(&request, incoming.status).await?;
        Ok(incoming)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use reqwest::header::HeaderMap;

    use super::*;

    /// Gives out numbered tokens, and takes each for so many requests.
    struct Server {
        uses: u32,
        issued: AtomicU32,
        used: AtomicU32,
        accepts: bool,
    }

    impl Transport for Server {
        async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
            let reply = |status, body: String| Reply {
                status,
                headers: HeaderMap::new(),
                body: Bytes::from(body),
                url: request.url.clone(),
            };
            if request.kind == RequestKind::Token {
                self.used.store(0, Ordering::Relaxed);
                let number = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
                return Ok(reply(
                    200,
                    format!(r#"{{"access_token":"t{number}","expires_in":900,"token_type":"bearer"}}"#),
                ));
            }
            let current = format!("t{}", self.issued.load(Ordering::Relaxed));
            let known = request.bearer.as_ref().is_some_and(|bearer| bearer.expose_secret() == current);
            let fresh = self.used.fetch_add(1, Ordering::Relaxed) < self.uses;
            Ok(reply(if known && fresh && self.accepts { 200 } else { 401 }, String::new()))
        }
    }

    fn authorized(uses: u32, accepts: bool) -> (Authorized<Server>, Request) {
        let mut source = Source::new(Url::parse("https://a.example/fhir").unwrap());
        source.credentials = Credentials::ClientCredentials {
            token_url: Url::parse("https://a.example/token").unwrap(),
            client_id: None,
            client_secret: None,
            scopes: Vec::new(),
        };
        let server = Server { uses, issued: AtomicU32::new(0), used: AtomicU32::new(0), accepts };
        let request = Request::new(Url::parse("https://a.example/fhir/Location").unwrap());
        (Authorized::new(server, source), request)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_when_it_ends_or_is_rejected() {
        let (transport, request) = authorized(3, true);
        for wanted in [Ok(200), Ok(200), Ok(200), Err(()), Ok(200), Ok(200)] {
            let told = transport.send(&request).await.map(|reply| reply.status).map_err(|_| ());
            assert_eq!(told, wanted);
        }
        assert_eq!(transport.inner.issued.load(Ordering::Relaxed), 2);
        tokio::time::advance(Duration::from_secs(880)).await;
        assert_eq!(transport.send(&request).await.unwrap().status, 200);
        assert_eq!(transport.inner.issued.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_never_taken_is_not_asked_for_again_and_again() {
        let (transport, request) = authorized(3, false);
        assert_eq!(transport.send(&request).await.unwrap().status, 401);
        let foreign = Request::new(Url::parse("https://b.example/").unwrap());
        assert!(transport.with_token(&foreign).await.unwrap().bearer.is_none());
        assert_eq!(transport.inner.issued.load(Ordering::Relaxed), 1);
    }
}
