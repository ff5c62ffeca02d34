//! The client as the token endpoint knows it, and how it shows who it is.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use oauth2::{
    AuthType, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet, StandardRevocableToken, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::sync::OnceCell;
use url::{Url, form_urlencoded};

use super::{Answer, OAuthError, plain};
use crate::{
    source::shown,
    transport::{Form, Transport},
};

/// A signed statement is good for so many seconds; SMART Backend Services allows five minutes at most.
const ASSERTION_LIVES: i64 = 240;

/// Who asks for tokens, and where.
#[derive(Clone)]
pub struct OAuthClient {
    /// The token endpoint.
    pub token_url: Endpoint,
    /// The client's id; some servers give tokens to anybody.
    pub id: Option<String>,
    /// How it shows who it is.
    pub authentication: ClientAuthentication,
}

/// Where an endpoint is.
#[derive(Clone)]
pub enum Endpoint {
    /// Here.
    At(Url),
    /// Where this document says (`.well-known/smart-configuration`), which is read once.
    Told {
        /// The document.
        document: Url,
        /// What it said.
        found: Arc<OnceCell<Url>>,
    },
}

impl Endpoint {
    /// The token endpoint that the configuration of a FHIR server names.
    #[must_use]
    pub fn told_by(document: Url) -> Self {
        Self::Told { document, found: Arc::default() }
    }

    pub(super) async fn token_url<T: Transport>(&self, transport: &T) -> Result<Url, OAuthError> {
        let (document, found) = match self {
            Self::At(url) => return Ok(url.clone()),
            Self::Told { document, found } => (document, found),
        };
        let read = async || {
            let told = super::document(transport, document).await?;
            let url = told.get("token_endpoint").and_then(|url| Url::parse(url.as_str()?).ok());
            url.ok_or_else(|| OAuthError::Unreadable { url: shown(document), status: 200 })
        };
        found.get_or_try_init(read).await.cloned()
    }
}

/// How a client shows who it is.
#[derive(Clone)]
pub enum ClientAuthentication {
    /// Not at all: a public client.
    Public,
    /// A secret in `Authorization: Basic`.
    Basic(SecretString),
    /// A secret in the form.
    Body(SecretString),
    /// A statement signed with its key (`private_key_jwt`).
    PrivateKey(PrivateKey),
}

impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "Public",
            Self::Basic(_) => "Basic",
            Self::Body(_) => "Body",
            Self::PrivateKey(_) => "PrivateKey",
        })
    }
}

/// What a client's key signs with: SMART App Launch wants one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA over P-384.
    Es384,
    /// RSA with SHA-384.
    Rs384,
}

/// A client's private key.
#[derive(Clone)]
pub struct PrivateKey {
    key: EncodingKey,
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl PrivateKey {
    /// Reads a key from PEM.
    ///
    /// # Errors
    /// It is no key of the kind that the algorithm wants.
    pub fn from_pem(
        pem: &SecretString,
        algorithm: SigningAlgorithm,
        key_id: Option<String>,
    ) -> Result<Self, OAuthError> {
        let pem = pem.expose_secret().as_bytes();
        let (key, algorithm) = match algorithm {
            SigningAlgorithm::Es384 => (EncodingKey::from_ec_pem(pem), Algorithm::ES384),
            SigningAlgorithm::Rs384 => (EncodingKey::from_rsa_pem(pem), Algorithm::RS384),
        };
        Ok(Self { key: key.map_err(|_| OAuthError::Key)?, algorithm, key_id })
    }

    /// The statement of RFC 7523: this client asks, now, this server.
    fn assertion(&self, client: &str, audience: &Url, now: DateTime<Utc>) -> Result<String, OAuthError> {
        let mut header = Header::new(self.algorithm);
        header.kid.clone_from(&self.key_id);
        let issued = now.timestamp();
        let claims = json!({
            "iss": client, "sub": client, "aud": audience.as_str(), "iat": issued, "exp": issued + ASSERTION_LIVES,
            "jti": CsrfToken::new_random().secret(),
        });
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_| OAuthError::Key)
    }
}

pub(super) type Basis = oauth2::Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl OAuthClient {
    fn name(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// The client in the words of the `oauth2` crate.
    pub(super) fn basis(&self, token_url: &Url) -> Basis {
        let basis = oauth2::Client::new(ClientId::new(self.name().to_owned()))
            .set_token_uri(TokenUrl::from_url(token_url.clone()));
        match &self.authentication {
            ClientAuthentication::Basic(secret) => basis.set_client_secret(ClientSecret::new(plain(secret))),
            ClientAuthentication::Body(secret) => {
                basis.set_auth_type(AuthType::RequestBody).set_client_secret(ClientSecret::new(plain(secret)))
            }
            ClientAuthentication::Public | ClientAuthentication::PrivateKey(_) => {
                basis.set_auth_type(AuthType::RequestBody)
            }
        }
    }

    /// The fields of a signed statement, for a client with a key.
    pub(super) fn assertion(
        &self,
        audience: &Url,
        now: DateTime<Utc>,
    ) -> Result<Vec<(&'static str, String)>, OAuthError> {
        let ClientAuthentication::PrivateKey(key) = &self.authentication else { return Ok(Vec::new()) };
        let assertion = key.assertion(self.name(), audience, now)?;
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned();
        Ok(vec![("client_assertion_type", kind), ("client_assertion", assertion)])
    }

    /// A form that says who asks, for what the `oauth2` crate does not send: it revokes over https only, which keeps
    /// a server on this machine out.
    pub(super) fn form(&self, audience: &Url, now: DateTime<Utc>) -> Result<Form, OAuthError> {
        let id = || ("client_id".to_owned(), SecretString::from(self.name()));
        let mut form = Form { fields: Vec::new(), authorization: None };
        match &self.authentication {
            ClientAuthentication::Public => form.fields.push(id()),
            ClientAuthentication::Body(secret) => {
                form.fields.extend([id(), ("client_secret".to_owned(), secret.clone())]);
            }
            ClientAuthentication::Basic(secret) => {
                let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", encoded(self.name()), encoded(secret.expose_secret()));
                form.authorization = Some(format!("Basic {}", STANDARD.encode(pair)).into());
            }
            ClientAuthentication::PrivateKey(_) => {
                form.fields.push(id());
                let fields = self.assertion(audience, now)?.into_iter();
                form.fields.extend(fields.map(|(name, value)| (name.to_owned(), value.into())));
            }
        }
        Ok(form)
    }
}
