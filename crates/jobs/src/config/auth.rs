//! How a job's requests are authorized, as the configuration says it. What a publisher does not publish may be missing:
//! [`Auth::blanks`] names it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{catalog::Found, secret::SecretRef};

/// How requests are authorized.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// A key in a header of the publisher's choice.
    ApiKey {
        /// The header's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<String>,
        /// Where the key is.
        key: SecretRef,
    },
    /// `Authorization: Bearer`.
    Bearer {
        /// Where the token is.
        token: SecretRef,
    },
    /// `Authorization: Basic`.
    Basic {
        /// The user's name.
        username: String,
        /// Where the password is.
        password: SecretRef,
    },
    /// Tokens that a person grants with `fhirvest login` (SMART App Launch: authorization code with PKCE).
    OauthCode(OauthCode),
    /// Tokens that the client asks for in its own name (OAuth 2.0 client credentials), anew before they end.
    ClientCredentials {
        /// Where tokens are to be had.
        token_url: Url,
        /// The client's id; some servers give tokens to anybody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
        /// Where the client's secret is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_secret: Option<SecretRef>,
        /// How the client shows its secret.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_auth: Option<ClientAuth>,
        /// What is asked for.
        #[serde(default)]
        scopes: Vec<String>,
    },
    /// Tokens that the client asks for with a key pair of its own (SMART Backend Services, `private_key_jwt`).
    SmartBackend(SmartBackend),
}

/// A sign-in by a person. Addresses that are missing are looked up at the server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct OauthCode {
    /// Where the person signs in. Without it, `issuer` or the FHIR server's `.well-known/smart-configuration` tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// Where the code becomes a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// The OpenID provider: its `.well-known/openid-configuration` tells all addresses, and its keys sign ID tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Url>,
    /// The client's id, from the registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Where the client's secret is, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretRef>,
    /// How the client shows its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// What is asked for: `patient/*.read`, or `patient/*.rs` where the server speaks version 2.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The address that is registered for the client; without one, any free port of 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<Url>,
}

/// A client with a key pair, whose public half the server knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct SmartBackend {
    /// Where tokens are to be had. Without it, the FHIR server's `.well-known/smart-configuration` tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// The client's id, from the registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Where the private key is, as PEM.
    pub private_key: SecretRef,
    /// The key's name in the key set that the server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// What the key signs with.
    #[serde(default)]
    pub algorithm: SigningAlgorithm,
    /// What is asked for: `system/*.read`, or `system/*.rs`.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// How a client shows its secret at the token endpoint (RFC 6749, section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// `Authorization: Basic`, which every server has to take.
    Basic,
    /// `client_secret` in the form.
    Body,
}

/// What a client's key signs with; SMART App Launch wants one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SigningAlgorithm {
    /// ECDSA over P-384.
    #[default]
    ES384,
    /// RSA with SHA-384.
    RS384,
}

impl Auth {
    /// The kind, as the configuration writes it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ApiKey { .. } => "api-key",
            Self::Bearer { .. } => "bearer",
            Self::Basic { .. } => "basic",
            Self::OauthCode(_) => "oauth-code",
            Self::ClientCredentials { .. } => "client-credentials",
            Self::SmartBackend(_) => "smart-backend",
        }
    }

    /// The keys that are not filled in and have to be, each with the place where to find its value.
    #[must_use]
    pub(super) fn blanks(&self) -> Vec<(&'static str, Found)> {
        let mut blanks = Vec::new();
        let mut missing = |is: bool, key, found| {
            if is {
                blanks.push((key, found));
            }
        };
        let open = |url: &Option<String>| url.as_deref().is_some_and(is_open);
        match self {
            Self::None | Self::Bearer { .. } | Self::Basic { .. } | Self::ClientCredentials { .. } => {}
            Self::ApiKey { header, .. } => missing(header.is_none(), "header", Found::OpenApi),
            Self::OauthCode(code) => {
                missing(open(&code.authorize_url), "authorize_url", Found::OpenApi);
                missing(open(&code.token_url), "token_url", Found::OpenApi);
                missing(code.client_id.is_none(), "client_id", Found::Registration);
            }
            Self::SmartBackend(backend) => {
                missing(open(&backend.token_url), "token_url", Found::OpenApi);
                missing(backend.client_id.is_none(), "client_id", Found::Registration);
            }
        }
        blanks
    }
}

/// Whether a value still holds a `{placeholder}`.
pub(super) fn is_open(text: &str) -> bool {
    text.contains('{')
}
