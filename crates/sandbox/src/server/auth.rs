//! Who may ask: API keys, fixed bearer tokens, tokens of a small token endpoint that live for a while, and members'
//! tokens from [`crate::authorization`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::App;
use super::answer::Answer;
use super::call::Call;
use crate::authorization::Admitted;
use crate::faults::Fault;
use crate::search::query;
use crate::world::Mount;

/// Where tokens are to be had, below the origin.
pub(crate) const TOKEN_PATH: &str = "/oauth/token";
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// What SMART Backend Services advises.
const BACKEND_LIFETIME: Duration = Duration::from_secs(5 * 60);
const USES: u32 = 5;

/// Tokens handed out.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    issued: Mutex<HashMap<String, Token>>,
}

#[derive(Debug, Clone, Copy)]
struct Token {
    /// Time since 1970.
    since: Duration,
    uses: u32,
}

/// Who asks a mount: the member whose token it is, where the mount wants one; or the refusal.
pub(crate) fn admit(app: &App, call: &Call, mount: &Mount, resource_path: &str) -> Result<Option<Admitted>, Answer> {
    if let Some(server) = app.authorization.as_ref().filter(|_| mount.is_guarded()) {
        if resource_path == "metadata" {
            return Ok(None);
        }
        return server.admit(app, call, mount).map(Some).ok_or_else(no_token);
    }
    refuse(app, call, resource_path).map_or(Ok(None), Err)
}

/// Whether a mount answers only those who show something.
pub(crate) fn wants_credentials(app: &App, mount: &Mount) -> bool {
    let signed_in = app.authorization.is_some() && mount.is_guarded();
    signed_in || app.options.api_key.is_some() || app.options.bearer.is_some() || lifetime(app).is_some()
}

fn no_token() -> Answer {
    Answer::outcome(StatusCode::UNAUTHORIZED, "login", "access token missing, expired or not valid")
        .with(WWW_AUTHENTICATE, "Bearer")
}

/// The refusal of a request that lacks what the sandbox asks for.
fn refuse(app: &App, call: &Call, resource_path: &str) -> Option<Answer> {
    if let Some(key) = &app.options.api_key
        && call.header(&key.header) != Some(key.value.as_str())
    {
        let message = format!("API key missing or not valid: send it in the header {}", key.header);
        return Some(Answer::outcome(StatusCode::UNAUTHORIZED, "login", &message));
    }
    if resource_path == "metadata" {
        return None;
    }
    let given = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let welcome = match (lifetime(app), &app.options.bearer) {
        (Some(limit), _) => given.is_some_and(|token| app.tokens.spend(token, limit, app.behaviour.now())),
        (None, Some(wanted)) => given == Some(wanted.as_str()),
        (None, None) => true,
    };
    (!welcome).then(no_token)
}

/// How long tokens live, when tokens are asked for at all.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Time(Duration),
    Uses(u32),
}

fn lifetime(app: &App) -> Option<Limit> {
    match app.behaviour.first(&[Fault::Token15Minutes, Fault::Token5Requests]) {
        Some(Fault::Token15Minutes) => Some(Limit::Time(LIFETIME)),
        Some(_) => Some(Limit::Uses(USES)),
        None => app.options.backend.as_ref().map(|_| Limit::Time(BACKEND_LIFETIME)),
    }
}

impl Tokens {
    fn issue(&self, now: Duration) -> String {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let token = format!("sandbox-token-{}", issued.len());
        issued.insert(token.clone(), Token { since: now, uses: 0 });
        token
    }

    /// Uses a token once; whether it was still good.
    fn spend(&self, token: &str, limit: Limit, now: Duration) -> bool {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = issued.get_mut(token) else { return false };
        token.uses += 1;
        match limit {
            Limit::Time(lifetime) => now.saturating_sub(token.since) < lifetime,
            Limit::Uses(uses) => token.uses <= uses,
        }
    }
}

/// `POST /oauth/token`: client credentials or a refresh token. Where the sandbox was given a client's key set, the client
/// signs; where it was given a bearer token, that is the client's secret; otherwise the endpoint is public.
pub(crate) fn token(app: &App, call: &Call) -> Option<Answer> {
    let limit = lifetime(app).filter(|_| call.path == TOKEN_PATH)?;
    if call.method != Method::POST {
        return Some(Answer::outcome(StatusCode::METHOD_NOT_ALLOWED, "not-supported", "POST a form to this address"));
    }
    let form = query::decode(&call.body);
    let field = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let refused = |status: StatusCode, error: &str| {
        Some(Answer::new(status, "application/json", json!({"error": error}).to_string()))
    };
    if let Some(secret) = &app.options.bearer
        && field("client_secret") != Some(secret)
        && basic(call).map(|(_, password)| password).as_ref() != Some(secret)
    {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    if !matches!(field("grant_type"), Some("client_credentials" | "refresh_token")) {
        return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    if let Some(client) = &app.options.backend {
        let now = app.behaviour.now().as_secs();
        if let Err(why) = app.statements.check(client, field, &call.base(TOKEN_PATH), now) {
            let body = json!({"error": "invalid_client", "error_description": why}).to_string();
            return Some(Answer::new(StatusCode::UNAUTHORIZED, "application/json", body));
        }
        if !field("scope").is_some_and(|scope| scope.starts_with("system/")) {
            return refused(StatusCode::BAD_REQUEST, "invalid_scope");
        }
    }
    let seconds = match limit {
        Limit::Time(lifetime) => lifetime.as_secs(),
        // It does not say that it counts requests.
        Limit::Uses(_) => 3_600,
    };
    let access = app.tokens.issue(app.behaviour.now());
    let body = json!({
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": seconds,
        "refresh_token": format!("refresh-{access}"),
        "scope": field("scope").unwrap_or("system/*.read"),
    });
    Some(Answer::new(StatusCode::OK, "application/json", body.to_string()))
}

/// User name and password of `Authorization: Basic`. A client's are form-encoded first (RFC 6749, section 2.3.1).
pub(crate) fn basic(call: &Call) -> Option<(String, String)> {
    let encoded = call.header("authorization")?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    let plain = |text: &str| query::decode(&format!("x={text}")).pop().map(|(_, value)| value);
    Some((plain(name)?, plain(password)?))
}
