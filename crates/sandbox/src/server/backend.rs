//! SMART Backend Services: a program with a key pair asks for tokens in its own name, with a statement that it signs
//! (RFC 7523; SMART App Launch 2.2, "Client Authentication: Asymmetric").

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::TOKEN_PATH;
use super::call::Call;
use crate::error::SandboxError;

/// The id of the program that the sandbox knows, where it was given a key set.
pub const BACKEND_CLIENT_ID: &str = "fhirvest-backend";

/// A statement may be good for so many seconds.
const LONGEST: u64 = 300;
const STATEMENT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The program that may ask for tokens.
#[derive(Clone)]
pub struct BackendClient {
    keys: JwkSet,
}

impl BackendClient {
    /// Reads the program's key set (RFC 7517).
    ///
    /// # Errors
    /// It is none.
    pub fn from_jwks(text: &str) -> Result<Self, SandboxError> {
        let keys = serde_json::from_str(text).map_err(|error| SandboxError::KeySet { reason: error.to_string() })?;
        Ok(Self { keys })
    }
}

impl fmt::Debug for BackendClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BackendClient").field("keys", &self.keys.keys.len()).finish()
    }
}

/// Statements that were taken, each until it ends: none is taken twice.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    taken: Mutex<HashMap<String, u64>>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: u64,
    jti: String,
}

impl Statements {
    /// Checks a token request of the program; `now` in seconds since 1970. The error says what is wrong.
    pub(crate) fn check<'a>(
        &self,
        client: &BackendClient,
        field: impl Fn(&str) -> Option<&'a str>,
        token_url: &str,
        now: u64,
    ) -> Result<(), &'static str> {
        if field("client_assertion_type") != Some(STATEMENT) {
            return Err("client_assertion_type is not that of a JWT");
        }
        let claims = signed(client, field("client_assertion").unwrap_or_default(), token_url)?;
        if claims.iss != BACKEND_CLIENT_ID || claims.sub != claims.iss {
            return Err("iss and sub have to be the client's id");
        }
        if claims.exp <= now || claims.exp > now + LONGEST {
            return Err("exp is past, or more than five minutes away");
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|_, ends| *ends > now);
        match taken.insert(claims.jti, claims.exp) {
            None => Ok(()),
            Some(_) => Err("this jti came before"),
        }
    }
}

/// The claims of a statement that the program's key has signed for this token endpoint.
fn signed(client: &BackendClient, statement: &str, token_url: &str) -> Result<Claims, &'static str> {
    let header = decode_header(statement).map_err(|_| "client_assertion is no JWT")?;
    if !matches!(header.alg, Algorithm::RS384 | Algorithm::ES384) {
        return Err("alg has to be RS384 or ES384");
    }
    let key = header.kid.and_then(|kid| client.keys.find(&kid)).ok_or("kid is not in the key set")?;
    let key = DecodingKey::from_jwk(key).map_err(|_| "the key of the key set cannot be used")?;
    let mut rules = Validation::new(header.alg);
    rules.set_audience(&[token_url]);
    rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    // By the sandbox's own clock, which the caller has.
    rules.validate_exp = false;
    let read = decode(statement, &key, &rules).map_err(|_| "signature, aud or a claim does not fit")?;
    Ok(read.claims)
}

/// `.well-known/smart-configuration` of an API that this program reads.
pub(crate) fn configuration(call: &Call) -> Value {
    json!({
        "token_endpoint": call.base(TOKEN_PATH),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "scopes_supported": ["system/*.read", "system/*.rs"],
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    })
}
