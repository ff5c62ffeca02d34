//! Codes and refresh tokens become access tokens, and sign-ins end.

use aws_lc_rs::digest;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::keys::random;
use super::{Authorization, CLIENT_ID, Code, Grant, Refresh};
use crate::search::query;
use crate::server::{App, answer::Answer, auth::basic, call::Call};
use crate::world::Mount;

struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// `POST oauth/token`.
pub(super) fn token(server: &Authorization, app: &App, call: &Call, mount: &Mount) -> Answer {
    let form = Form(query::decode(&call.body));
    if !is_the_client(server, call, &form) {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client").with(WWW_AUTHENTICATE, "Basic");
    }
    let grant = match form.get("grant_type") {
        Some("authorization_code") => from_code(server, app, &form),
        Some("refresh_token") => from_refresh(server, &form),
        _ => return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
    };
    match grant.filter(|grant| grant.mount == mount.path) {
        Some(grant) => issued(server, app, call, mount, &grant),
        None => refused(StatusCode::BAD_REQUEST, "invalid_grant"),
    }
}

/// `POST oauth/revoke` (RFC 7009): the sign-in that a token belongs to is over. Unknown tokens are no error.
pub(super) fn revoke(server: &Authorization, call: &Call) -> Answer {
    let form = Form(query::decode(&call.body));
    if !is_the_client(server, call, &form) {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client").with(WWW_AUTHENTICATE, "Basic");
    }
    let given = form.get("token").unwrap_or_default();
    let of_access = || server.keys.read(given)?.get("sid")?.as_str().map(str::to_owned);
    let mut remembered = server.remembered();
    let of_refresh = remembered.refresh.get(given).map(|refresh| refresh.grant.sign_in.clone());
    if let Some(sign_in) = of_refresh.or_else(of_access) {
        remembered.ended.insert(sign_in);
    }
    Answer::new(StatusCode::OK, "application/json", "")
}

fn is_the_client(server: &Authorization, call: &Call, form: &Form) -> bool {
    let (name, secret) = match basic(call) {
        Some((name, secret)) => (Some(name), Some(secret)),
        None => (form.get("client_id").map(str::to_owned), form.get("client_secret").map(str::to_owned)),
    };
    name.as_deref() == Some(CLIENT_ID)
        && server.options.client_secret.as_ref().is_none_or(|wanted| secret.as_ref() == Some(wanted))
}

/// The grant of a code, which is for one use.
fn from_code(server: &Authorization, app: &App, form: &Form) -> Option<Grant> {
    let mut remembered = server.remembered();
    let code = remembered.codes.get_mut(form.get("code")?)?;
    let again = std::mem::replace(&mut code.used, true);
    let grant = code.grant.clone();
    let good = is_good(code, server, app, form);
    if again {
        // Somebody else has it too: whatever it gave is taken back (RFC 6749, section 4.1.2).
        remembered.ended.insert(grant.sign_in);
        return None;
    }
    good.then_some(grant)
}

fn is_good(code: &Code, server: &Authorization, app: &App, form: &Form) -> bool {
    let in_time = app.behaviour.now().saturating_sub(code.since) < server.options.code_lifetime;
    let same_address = form.get("redirect_uri") == Some(code.redirect_uri.as_str());
    let verified = form.get("code_verifier").is_some_and(|verifier| {
        let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
        URL_SAFE_NO_PAD.encode(hash) == code.challenge
    });
    in_time && same_address && verified
}

/// The grant of a refresh token, which is replaced by its use.
fn from_refresh(server: &Authorization, form: &Form) -> Option<Grant> {
    let mut remembered = server.remembered();
    let refresh = remembered.refresh.get_mut(form.get("refresh_token")?)?;
    let again = std::mem::replace(&mut refresh.used, true);
    let grant = refresh.grant.clone();
    if again {
        remembered.ended.insert(grant.sign_in.clone());
    }
    (!remembered.ended.contains(&grant.sign_in)).then_some(grant)
}

fn issued(server: &Authorization, app: &App, call: &Call, mount: &Mount, grant: &Grant) -> Answer {
    let (base, now) = (call.base(&mount.path), app.behaviour.now().as_secs());
    let lifetime = server.options.access_lifetime.as_secs();
    let scope = grant.scopes.join(" ");
    let has = |scope: &str| grant.scopes.iter().any(|granted| granted == scope);
    let access = server.keys.sign(&json!({
        "iss": base, "aud": base, "sub": grant.patient, "iat": now, "exp": now + lifetime, "jti": random(),
        "sid": grant.sign_in, "patient_id": grant.patient, "scope": scope,
    }));
    let mut answer = json!({"access_token": access, "token_type": "Bearer", "expires_in": lifetime, "scope": scope});
    let mut add = |name: &str, value: Value| {
        if let Some(fields) = answer.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    };
    if has("launch/patient") {
        add("patient", json!(grant.patient));
    }
    if has("openid") {
        let mut claims = json!({
            "iss": base, "aud": CLIENT_ID, "sub": grant.patient, "iat": now, "exp": now + lifetime,
            "fhirUser": format!("Patient/{}", grant.patient),
        });
        if let (Some(nonce), Some(claims)) = (&grant.nonce, claims.as_object_mut()) {
            claims.insert("nonce".to_owned(), json!(nonce));
        }
        add("id_token", json!(server.keys.sign(&claims)));
    }
    if has("offline_access") && server.options.refresh {
        let word = random();
        server.remembered().refresh.insert(word.clone(), Refresh { grant: grant.clone(), used: false });
        add("refresh_token", json!(word));
    }
    Answer::new(StatusCode::OK, "application/json", answer.to_string()).with(CACHE_CONTROL, "no-store")
}

fn refused(status: StatusCode, error: &str) -> Answer {
    Answer::new(status, "application/json", json!({"error": error}).to_string()).with(CACHE_CONTROL, "no-store")
}
