//! Tokens that are asked for and that end: a client's own (OAuth 2.0 client credentials, RFC 6749, section 4.4), or those
//! that a person has granted and that a refresh token renews. A token is kept in memory, replaced shortly before it ends,
//! and once when the server rejects one that it took before (habit 26 of the crawling notes). Stands outside of the
//! limiter, so that asking for a token pays as well.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    oauth::{self, Grant, HeldTokens, KeeperError, OAuthError, Tokens},
    retry::Now,
    source::{Credentials, Source},
    transport::{Incoming, Reply, Request, Transport, TransportError},
};

/// A token is not used in the last moments of its life, a quarter of it at most: a request may be on its way for so long.
const BEFORE_ITS_END: Duration = Duration::from_secs(30);

/// Adds tokens to requests, where the source asks for tokens.
pub struct Authorized<T> {
    inner: T,
    source: Source,
    now: Now,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: SecretString,
    ends: Option<Instant>,
    /// The server has taken it.
    taken: bool,
}

impl<T: Transport> Authorized<T> {
    /// Adds tokens to the requests of a source to `inner`.
    pub fn new(inner: T, source: Source, now: Now) -> Self {
        Self { inner, source, now, token: Mutex::new(None) }
    }

    /// The request with a token, if the source has tokens and the address may see one.
    async fn with_token(&self, request: &Request) -> Result<Request, TransportError> {
        let mut request = request.clone();
        let credentials = &self.source.credentials;
        if !matches!(credentials, Credentials::Client { .. } | Credentials::Held(_))
            || request.anonymous
            || !self.source.may_see_credentials(&request.url)
        {
            return Ok(request);
        }
        // Held while a token is asked for: the other requests wait for it instead of asking for their own.
        let mut token = self.token.lock().await;
        if !token.as_ref().is_some_and(Token::lives) {
            *token = Some(match credentials {
                Credentials::Held(held) => self.granted(held, token.as_ref()).await?,
                Credentials::Client { client, scopes } => {
                    let grant = Grant::ClientCredentials;
                    let tokens = oauth::ask(&self.inner, client, &grant, scopes, (self.now)()).await;
                    self.token(&tokens.map_err(refused)?, false)
                }
                _ => return Ok(request),
            });
        }
        request.bearer = token.as_ref().map(|token| token.text.clone());
        Ok(request)
    }

    /// A token that a person has granted: the one that is kept, if it is another than `before` and lives, else a new
    /// one for the refresh token that is kept.
    async fn granted(&self, held: &HeldTokens, before: Option<&Token>) -> Result<Token, TransportError> {
        let over = || {
            held.end();
            TransportError::SignedOut
        };
        let read = async || {
            let keeper = Arc::clone(&held.keeper);
            on_disk(move || keeper.held()).await?.ok_or_else(over)
        };
        if let Some(token) = self.another(&read().await?, before) {
            return Ok(token);
        }
        let keeper = Arc::clone(&held.keeper);
        let _alone = on_disk(move || keeper.renewing()).await?;
        // Whoever was alone before may have renewed them.
        let tokens = read().await?;
        if let Some(token) = self.another(&tokens, before) {
            return Ok(token);
        }
        let Some(refresh) = tokens.refresh.clone() else { return Err(over()) };
        let answer = oauth::ask(&self.inner, &held.client, &Grant::Refresh(refresh), &[], (self.now)()).await;
        let mut fresh = match answer {
            Ok(fresh) => fresh,
            Err(OAuthError::Refused { status: 400 | 401, .. }) => return Err(over()),
            Err(error) => return Err(refused(error)),
        };
        // What the server does not say again still holds (RFC 6749, section 6).
        fresh.refresh = fresh.refresh.or(tokens.refresh);
        fresh.patient = fresh.patient.or(tokens.patient);
        fresh.scopes = fresh.scopes.or(tokens.scopes);
        let (keeper, kept) = (Arc::clone(&held.keeper), fresh.clone());
        on_disk(move || keeper.keep(&kept)).await?;
        Ok(self.token(&fresh, false))
    }

    /// The token that is kept, if it lives and is not the one that was used until now.
    fn another(&self, tokens: &Tokens, before: Option<&Token>) -> Option<Token> {
        // It was good when it was kept, so the server has taken it.
        let kept = self.token(tokens, true);
        let is_new = before.is_none_or(|before| before.text.expose_secret() != kept.text.expose_secret());
        (is_new && kept.lives()).then_some(kept)
    }

    fn token(&self, tokens: &Tokens, taken: bool) -> Token {
        let life = tokens.ends.map(|ends| (ends - (self.now)()).to_std().unwrap_or_default());
        let ends = life.map(|life| Instant::now() + life.saturating_sub(BEFORE_ITS_END.min(life / 4)));
        Token { text: tokens.access.clone(), ends, taken }
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
                // Kept, so that it is known not to come again.
                current.ends = Some(Instant::now());
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

impl Token {
    fn lives(&self) -> bool {
        self.ends.is_none_or(|ends| Instant::now() < ends)
    }
}

/// The keeper reads and writes files.
async fn on_disk<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, KeeperError> + Send + 'static,
) -> Result<R, TransportError> {
    let failed = |error: String| TransportError::Token { status: 0, error };
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.to_string()))?;
    done.map_err(|error| failed(error.to_string()))
}

fn refused(error: OAuthError) -> TransportError {
    match error {
        OAuthError::Transport(error) => error,
        OAuthError::Refused { status, error } => {
            TransportError::Token { status, error: format!("HTTP {status}, {error}") }
        }
        other => TransportError::Token { status: 0, error: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use reqwest::header::HeaderMap;
    use url::Url;

    use super::*;
    use crate::{
        oauth::{ClientAuthentication, Endpoint, OAuthClient},
        transport::RequestKind,
    };

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
        let token_url = Url::parse("https://a.example/token").unwrap();
        let token_url = Endpoint::At(token_url);
        let client = OAuthClient { token_url, id: None, authentication: ClientAuthentication::Public };
        source.credentials = Credentials::Client { client, scopes: Vec::new() };
        let server = Server { uses, issued: AtomicU32::new(0), used: AtomicU32::new(0), accepts };
        let request = Request::new(Url::parse("https://a.example/fhir/Location").unwrap());
        (Authorized::new(server, source, || chrono::DateTime::UNIX_EPOCH), request)
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

    /// Renews by rotation: each refresh token is for one use.
    struct Rotating(AtomicU32);

    impl Transport for Arc<Rotating> {
        async fn send(&self, request: &Request) -> Result<Reply, TransportError> {
            let Some(form) = &request.form else {
                let body = Bytes::new();
                return Ok(Reply { status: 200, headers: HeaderMap::new(), body, url: request.url.clone() });
            };
            let (_, given) = form.fields.iter().find(|(name, _)| name == "refresh_token").unwrap();
            let given = given.expose_secret().to_owned();
            // Time for another renewal to overtake this one.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            let next = self.0.load(Ordering::Relaxed) + 1;
            let good = given == format!("r{}", next - 1);
            if good {
                self.0.store(next, Ordering::Relaxed);
            }
            let body = format!(r#"{{"access_token":"t{next}","refresh_token":"r{next}","token_type":"bearer"}}"#);
            let refusal = r#"{"error":"invalid_grant"}"#.to_owned();
            let (status, body) = if good { (200, body) } else { (400, refusal) };
            Ok(Reply { status, headers: HeaderMap::new(), body: Bytes::from(body), url: request.url.clone() })
        }
    }

    struct Kept(std::sync::Mutex<Tokens>, Arc<Mutex<()>>);

    impl oauth::TokenKeeper for Kept {
        fn held(&self) -> Result<Option<Tokens>, KeeperError> {
            Ok(Some(self.0.lock().unwrap().clone()))
        }

        fn keep(&self, tokens: &Tokens) -> Result<(), KeeperError> {
            *self.0.lock().unwrap() = tokens.clone();
            Ok(())
        }

        fn renewing(&self) -> Result<Box<dyn Send>, KeeperError> {
            Ok(Box::new(Arc::clone(&self.1).blocking_lock_owned()))
        }
    }

    #[tokio::test]
    async fn a_refresh_token_is_used_once_by_all_who_share_it() {
        let ends = Some(chrono::DateTime::UNIX_EPOCH);
        let tokens = Tokens {
            access: "t0".into(),
            refresh: Some("r0".into()),
            ends,
            scopes: None,
            patient: None,
            id_token: None,
        };
        let keeper = Arc::new(Kept(std::sync::Mutex::new(tokens), Arc::default()));
        let token_url = Endpoint::At(Url::parse("https://a.example/token").unwrap());
        let client = OAuthClient { token_url, id: None, authentication: ClientAuthentication::Public };
        let held = HeldTokens::new(client, Arc::clone(&keeper) as Arc<dyn oauth::TokenKeeper>);
        let mut source = Source::new(Url::parse("https://a.example/fhir").unwrap());
        source.credentials = Credentials::Held(held.clone());
        let request = Request::new(Url::parse("https://a.example/fhir/Location").unwrap());
        let server = Arc::new(Rotating(AtomicU32::new(0)));
        let stack = || Authorized::new(Arc::clone(&server), source.clone(), || chrono::DateTime::UNIX_EPOCH);
        let (one, other) = (stack(), stack());
        let (one, other) = tokio::join!(one.send(&request), other.send(&request));
        assert_eq!((one.unwrap().status, other.unwrap().status), (200, 200));
        assert!(!held.has_ended());
        assert_eq!(server.0.load(Ordering::Relaxed), 1);
    }
}
