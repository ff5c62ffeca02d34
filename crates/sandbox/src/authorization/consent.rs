//! The page that asks a member, and what follows from the answer.

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use url::Url;

use super::keys::random;
use super::{Authorization, CLIENT_ID, Code, Consent, Grant};
use crate::search::query;
use crate::server::{App, answer::Answer, call::Call};
use crate::world::Mount;

type Parameters = Vec<(String, String)>;

/// What a client asks for.
struct Asked {
    redirect_uri: Url,
    /// The address as it came: the token request has to repeat it.
    redirect_text: String,
    state: Option<String>,
    challenge: String,
    scopes: Vec<String>,
    nonce: Option<String>,
}

/// Why a member is not asked.
enum Refused {
    /// The client or its address is not known: nobody is sent anywhere.
    Here(&'static str),
    /// Told to the client.
    There { redirect_uri: Box<Url>, state: Option<String>, error: &'static str, why: &'static str },
}

/// `GET oauth/authorize`.
pub(super) fn page(server: &Authorization, app: &App, call: &Call, mount: &Mount) -> Answer {
    let parameters = query::decode(&call.query);
    let asked = match read(server, call, mount, &parameters) {
        Ok(asked) => asked,
        Err(refused) => return refused.answer(call, mount),
    };
    let members = mount.members();
    let hint = field(&parameters, "login_hint");
    let chosen = members.iter().find(|member| hint == Some(member.as_str())).or(members.first());
    match (server.options.consent, chosen) {
        (_, None) => asked.error(call, mount, "access_denied", "this API holds no member's data"),
        (Consent::Given, Some(member)) => granted(server, app, call, mount, asked, member.clone()),
        (Consent::Asked, Some(member)) => {
            Answer::new(StatusCode::OK, "text/html; charset=utf-8", form(mount, &parameters, members, member))
                .with(CACHE_CONTROL, "no-store")
        }
    }
}

/// `POST oauth/authorize`: the page comes back.
pub(super) fn decided(server: &Authorization, app: &App, call: &Call, mount: &Mount) -> Answer {
    let parameters = query::decode(&call.body);
    let asked = match read(server, call, mount, &parameters) {
        Ok(asked) => asked,
        Err(refused) => return refused.answer(call, mount),
    };
    let member = field(&parameters, "member").filter(|member| mount.members().iter().any(|known| known == member));
    match (field(&parameters, "decision"), member) {
        (Some("allow"), Some(member)) => granted(server, app, call, mount, asked, member.to_owned()),
        _ => asked.error(call, mount, "access_denied", "the member said no"),
    }
}

fn granted(server: &Authorization, app: &App, call: &Call, mount: &Mount, asked: Asked, patient: String) -> Answer {
    let (word, sign_in) = (random(), random());
    let grant = Grant { sign_in, mount: mount.path.clone(), patient, scopes: asked.scopes, nonce: asked.nonce };
    let code = Code {
        grant,
        redirect_uri: asked.redirect_text,
        challenge: asked.challenge,
        since: app.behaviour.now(),
        used: false,
    };
    server.remembered().codes.insert(word.clone(), code);
    redirect(asked.redirect_uri, asked.state.as_deref(), call, mount, &[("code", &word)])
}

impl Asked {
    fn error(self, call: &Call, mount: &Mount, error: &'static str, why: &'static str) -> Answer {
        let Self { redirect_uri, state, .. } = self;
        Refused::There { redirect_uri: Box::new(redirect_uri), state, error, why }.answer(call, mount)
    }
}

impl Refused {
    fn answer(self, call: &Call, mount: &Mount) -> Answer {
        match self {
            Self::Here(why) => Answer::new(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", why),
            Self::There { redirect_uri, state, error, why } => {
                redirect(*redirect_uri, state.as_deref(), call, mount, &[("error", error), ("error_description", why)])
            }
        }
    }
}

fn redirect(mut to: Url, state: Option<&str>, call: &Call, mount: &Mount, pairs: &[(&str, &str)]) -> Answer {
    to.query_pairs_mut().extend_pairs(pairs).extend_pairs(state.map(|state| ("state", state)));
    // Who answers, so that the client is not led to another server's token endpoint (RFC 9207).
    to.query_pairs_mut().append_pair("iss", &call.base(&mount.path));
    Answer::new(StatusCode::FOUND, "text/plain; charset=utf-8", "").with(LOCATION, to).with(CACHE_CONTROL, "no-store")
}

fn read(server: &Authorization, call: &Call, mount: &Mount, parameters: &Parameters) -> Result<Asked, Refused> {
    let text = |name: &str| field(parameters, name);
    let owned = |name: &str| text(name).map(str::to_owned);
    if text("client_id") != Some(CLIENT_ID) {
        return Err(Refused::Here("this client_id is not registered"));
    }
    let redirect_text = owned("redirect_uri").ok_or(Refused::Here("redirect_uri is missing"))?;
    let redirect_uri = Url::parse(&redirect_text).ok().filter(|url| is_registered(server, url, &redirect_text));
    let redirect_uri = redirect_uri.ok_or(Refused::Here("this redirect_uri is not registered"))?;
    let state = owned("state");
    let refused = |error, why| {
        Err(Refused::There { redirect_uri: Box::new(redirect_uri.clone()), state: state.clone(), error, why })
    };
    if text("response_type") != Some("code") {
        return refused("unsupported_response_type", "only response_type=code");
    }
    if text("code_challenge_method") != Some("S256") {
        return refused("invalid_request", "PKCE with code_challenge_method=S256 is required");
    }
    let Some(challenge) = owned("code_challenge").filter(|challenge| challenge.len() == 43) else {
        return refused("invalid_request", "code_challenge is missing or not the SHA-256 of a verifier");
    };
    if text("aud").is_some_and(|aud| aud.trim_end_matches('/') != call.base(&mount.path)) {
        return refused("invalid_request", "aud is not this API's base URL");
    }
    let scopes: Vec<String> = text("scope")
        .unwrap_or_default()
        .split_whitespace()
        .filter(|scope| is_known(scope))
        .map(str::to_owned)
        .collect();
    if !scopes.iter().any(|scope| scope.starts_with("patient/")) {
        return refused("invalid_scope", "ask for patient/*.read or patient/*.rs");
    }
    Ok(Asked { redirect_uri, redirect_text, state, challenge, scopes, nonce: owned("nonce") })
}

fn is_known(scope: &str) -> bool {
    let of_patient = |scope: &str| {
        let rest = scope.strip_prefix("patient/")?;
        let (what, how) = rest.rsplit_once('.')?;
        (!what.is_empty() && matches!(how, "read" | "rs" | "r" | "s")).then_some(())
    };
    matches!(scope, "openid" | "fhirUser" | "launch/patient" | "offline_access") || of_patient(scope).is_some()
}

/// A registered address must be met to the letter; without any, a program on this machine may listen at any port
/// (RFC 8252, section 7.3).
fn is_registered(server: &Authorization, url: &Url, text: &str) -> bool {
    let known = &server.options.redirect_uris;
    let loopback = url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    if known.is_empty() { loopback } else { known.iter().any(|known| known == text) }
}

fn field<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn form(mount: &Mount, parameters: &Parameters, members: &[String], chosen: &str) -> String {
    let mut hidden = String::new();
    for (name, value) in parameters {
        hidden.push_str(&format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">\n", escaped(name), escaped(value)));
    }
    let mut options = String::new();
    for member in members {
        let selected = if member == chosen { " selected" } else { "" };
        options.push_str(&format!("<option{selected}>{}</option>\n", escaped(member)));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sign in: {title}</title></head>\n\
         <body><h1>{title}</h1>\n<p>This is the fhirvest sandbox. Its members are made up.</p>\n\
         <form method=\"post\">\n{hidden}<label>Member <select name=\"member\">\n{options}</select></label>\n\
         <p>The application asks to read this member's data.</p>\n\
         <button name=\"decision\" value=\"allow\">Allow</button>\n\
         <button name=\"decision\" value=\"deny\">Deny</button>\n</form></body></html>\n",
        title = escaped(&mount.title),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
