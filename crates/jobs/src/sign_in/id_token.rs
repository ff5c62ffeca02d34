//! The ID token: who signed in, in the words of the authorization server (OpenID Connect Core, section 3.1.3.7).

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::SignInError;

/// Checks signature, issuer, audience, end of life and nonce.
pub(super) fn verify(
    token: &SecretString,
    keys: Value,
    client_id: &str,
    issuer: Option<&str>,
    nonce: Option<&str>,
) -> Result<(), SignInError> {
    let wrong = |why| SignInError::IdToken { why };
    let keys: JwkSet = serde_json::from_value(keys).map_err(|_| wrong("the server's key set cannot be read"))?;
    let token = token.expose_secret();
    let header = decode_header(token).map_err(|_| wrong("it is no signed token"))?;
    // A secret that both sides know proves nothing to anybody else, and is no key of the set.
    if matches!(header.alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
        return Err(wrong("it is not signed with a key pair"));
    }
    let key = match (&header.kid, keys.keys.as_slice()) {
        (Some(kid), _) => keys.find(kid),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let key = key.and_then(|key| DecodingKey::from_jwk(key).ok()).ok_or_else(|| wrong("its key is not known"))?;
    let mut rules = Validation::new(header.alg);
    rules.set_audience(&[client_id]);
    if let Some(issuer) = issuer {
        rules.set_issuer(&[issuer]);
    }
    rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let read = decode::<Value>(token, &key, &rules);
    let claims = read.map_err(|_| wrong("signature, issuer, audience or time does not fit"))?.claims;
    if nonce.is_some() && claims.get("nonce").and_then(Value::as_str) != nonce {
        return Err(wrong("nonce differs"));
    }
    Ok(())
}
