//! Who may ask.

use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;

use super::App;
use super::answer::Answer;
use super::call::Call;

/// The refusal of a request that lacks what the sandbox asks for.
pub(crate) fn refuse(app: &App, call: &Call, resource_path: &str) -> Option<Answer> {
    if let Some(key) = &app.options.api_key
        && call.header(&key.header) != Some(key.value.as_str())
    {
        let message = format!("API key missing or not valid: send it in the header {}", key.header);
        return Some(Answer::outcome(StatusCode::UNAUTHORIZED, "login", &message));
    }
    let wanted = app.options.bearer.as_ref().filter(|_| resource_path != "metadata")?;
    let given = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    (given != Some(wanted.as_str())).then(|| {
        Answer::outcome(StatusCode::UNAUTHORIZED, "login", "access token missing, expired or not valid")
            .with(WWW_AUTHENTICATE, "Bearer")
    })
}
