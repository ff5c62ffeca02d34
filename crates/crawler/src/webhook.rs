//! A message to a web address that the operator named: one POST, no redirects, no retries.

use std::time::Duration;

use reqwest::{Client, header::CONTENT_TYPE, redirect::Policy};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// The message did not arrive. Says nothing of the address: it often holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No answer: the name is unknown, nobody listens, TLS fails, or it takes too long.
    #[error("the webhook cannot be reached ({reason})")]
    Unreachable {
        /// In a word.
        reason: &'static str,
    },
    /// An answer that is no success.
    #[error("the webhook answered {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
}

/// Posts a JSON text.
///
/// # Errors
/// It did not arrive, or was not taken.
pub async fn post(
    url: &Url,
    bearer: Option<&SecretString>,
    json: String,
    timeout: Duration,
) -> Result<(), WebhookError> {
    let client = Client::builder()
        .user_agent(concat!("fhirvest/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .timeout(timeout)
        .build()
        .map_err(|error| unreachable(&error))?;
    let mut request = client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(json);
    if let Some(token) = bearer {
        request = request.bearer_auth(token.expose_secret());
    }
    let status = request.send().await.map_err(|error| unreachable(&error))?.status();
    if status.is_success() { Ok(()) } else { Err(WebhookError::Refused { status: status.as_u16() }) }
}

fn unreachable(error: &reqwest::Error) -> WebhookError {
    let reason = match error {
        _ if error.is_timeout() => "it took too long",
        _ if error.is_connect() => "no connection",
        _ if error.is_builder() => "the request cannot be made",
        _ => "the connection broke",
    };
    WebhookError::Unreachable { reason }
}
