//! The key that signs tokens, made anew with each sandbox, and random words.

use std::fmt;

use aws_lc_rs::{
    rand,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, jwk::Jwk};
use serde_json::{Map, Value, json};

use crate::error::SandboxError;

const KEY_ID: &str = "sandbox";

/// An ECDSA key over P-256.
pub(super) struct Keys {
    signing: EncodingKey,
    verifying: DecodingKey,
    public: Jwk,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keys")
    }
}

impl Keys {
    pub(super) fn generate() -> Result<Self, SandboxError> {
        let unmade = |_| SandboxError::Keys;
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(unmade)?;
        let signing = EncodingKey::from_ec_der(pair.to_pkcs8v1().map_err(unmade)?.as_ref());
        let mut public = Jwk::from_encoding_key(&signing, Algorithm::ES256).map_err(|_| SandboxError::Keys)?;
        public.common.key_id = Some(KEY_ID.to_owned());
        let verifying = DecodingKey::from_jwk(&public).map_err(|_| SandboxError::Keys)?;
        Ok(Self { signing, verifying, public })
    }

    /// The key set that everybody may see.
    pub(super) fn public(&self) -> Value {
        json!({"keys": [self.public]})
    }

    pub(super) fn sign(&self, claims: &Value) -> Option<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(KEY_ID.to_owned());
        encode(&header, claims, &self.signing).ok()
    }

    /// The claims of a token with a good signature; when it ends is for the caller to look at, who has the clock.
    pub(super) fn read(&self, token: &str) -> Option<Map<String, Value>> {
        let mut rules = Validation::new(Algorithm::ES256);
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        decode(token, &self.verifying, &rules).ok().map(|token| token.claims)
    }
}

/// A word that nobody guesses.
pub(super) fn random() -> String {
    let mut bytes = [0; 24];
    // Without randomness there is nothing to sign in with: the word stays guessable on a machine that has none.
    let _ = rand::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}
