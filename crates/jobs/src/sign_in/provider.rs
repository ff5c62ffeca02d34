//! Where a person signs in: as configured, as the issuer says (OpenID Connect Discovery), or as the FHIR server says
//! (SMART App Launch, `.well-known/smart-configuration`).

use fhirvest_crawler::{oauth, transport::Transport};
use serde_json::Value;
use url::{Host, Url};

use super::SignInError;
use crate::config::OauthCode;

/// The endpoints of an authorization server.
#[derive(Debug, Clone)]
pub(super) struct Provider {
    pub(super) issuer: Option<String>,
    pub(super) authorize_url: Url,
    pub(super) token_url: Url,
    pub(super) revoke_url: Option<Url>,
    pub(super) jwks_url: Option<Url>,
    /// Whether a client's secret may be shown by `Authorization: Basic`, which is the rule.
    pub(super) takes_basic: bool,
}

/// What a server says of itself, and where.
struct Told {
    document: String,
    values: Value,
}

impl Told {
    fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    fn url(&self, name: &'static str) -> Option<Url> {
        self.text(name).and_then(|text| Url::parse(text).ok()).filter(is_secure)
    }
}

impl Provider {
    pub(super) async fn find<T: Transport>(http: &T, base: &Url, config: &OauthCode) -> Result<Self, SignInError> {
        let configured = |text: &Option<String>, what| match text {
            None => Ok(None),
            Some(text) => {
                let url = Url::parse(text).ok().filter(is_secure);
                url.map(Some).ok_or_else(|| SignInError::Endpoint { document: "the configuration".into(), what })
            }
        };
        let authorize = configured(&config.authorize_url, "an https authorize_url")?;
        let token = configured(&config.token_url, "an https token_url")?;
        let told = match &config.issuer {
            Some(issuer) => Some(of_issuer(http, issuer).await?),
            None if authorize.is_none() || token.is_none() => Some(of_fhir_server(http, base).await?),
            None => None,
        };
        let url = |known: Option<Url>, name, what| {
            let missing = || SignInError::Endpoint {
                document: told.as_ref().map_or_else(String::new, |told| told.document.clone()),
                what,
            };
            known.or_else(|| told.as_ref()?.url(name)).ok_or_else(missing)
        };
        let methods =
            told.as_ref().and_then(|told| told.values.get("token_endpoint_auth_methods_supported")?.as_array());
        Ok(Self {
            authorize_url: url(authorize, "authorization_endpoint", "an https authorization_endpoint")?,
            token_url: url(token, "token_endpoint", "an https token_endpoint")?,
            issuer: told.as_ref().and_then(|told| told.text("issuer")).map(ToOwned::to_owned),
            revoke_url: told.as_ref().and_then(|told| told.url("revocation_endpoint")),
            jwks_url: told.as_ref().and_then(|told| told.url("jwks_uri")),
            takes_basic: methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic")),
        })
    }
}

/// `{issuer}/.well-known/openid-configuration`, which has to name that very issuer.
async fn of_issuer<T: Transport>(http: &T, issuer: &Url) -> Result<Told, SignInError> {
    let told = read(http, issuer, ".well-known/openid-configuration").await?;
    let itself = |text: &str| text.trim_end_matches('/') == issuer.as_str().trim_end_matches('/');
    if told.text("issuer").is_some_and(itself) { Ok(told) } else { Err(SignInError::Foreign { what: "issuer" }) }
}

async fn of_fhir_server<T: Transport>(http: &T, base: &Url) -> Result<Told, SignInError> {
    read(http, base, ".well-known/smart-configuration").await
}

async fn read<T: Transport>(http: &T, base: &Url, path: &'static str) -> Result<Told, SignInError> {
    let document = format!("{}/{path}", base.as_str().trim_end_matches('/'));
    let url = Url::parse(&document).ok().filter(is_secure);
    let Some(url) = url else { return Err(SignInError::Endpoint { document, what: "an https address" }) };
    let values = oauth::document(http, &url).await?;
    Ok(Told { document, values })
}

/// Whether codes and tokens may go there: https, or this very machine.
fn is_secure(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && here)
}
