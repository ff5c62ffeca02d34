//! The catalogue: what is known of each publisher's APIs, one file a publisher in `config/apis/`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{Auth, RewriteRule, TrustedOrigin};

/// One file of `config/apis/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublisherFile {
    /// The version of the file format: 1.
    pub version: u32,
    /// Who publishes.
    pub publisher: Publisher,
    /// Its APIs by name.
    pub apis: BTreeMap<String, Api>,
}

/// Who publishes APIs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publisher {
    /// The organisation's name.
    pub name: String,
    /// The code that a developer registers with.
    #[serde(default)]
    pub registration_code: Option<String>,
    /// Where a developer begins.
    #[serde(default)]
    pub portal: Option<String>,
    /// Where each API's OpenAPI file is to be had.
    #[serde(default)]
    pub catalogue: Option<String>,
    /// Whom to ask.
    #[serde(default)]
    pub support: Option<String>,
}

/// One API of a publisher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Its name on the portal.
    pub title: String,
    /// What it holds, in a few words.
    pub describes: String,
    /// The guide whose shapes it follows: `plan-net`, `formulary`, `patient-access`.
    pub guide: String,
    /// The kind of sign-in that the publisher states: `api-key`, `oauth-code`, or `unpublished`.
    pub auth: String,
    /// The resource types that it serves, as far as known.
    #[serde(default)]
    pub resources: Vec<String>,
    /// What the publisher does not publish and the user has to fill in.
    #[serde(default)]
    pub to_fill_in: Vec<String>,
    /// Where it is reached, by environment.
    pub environments: BTreeMap<String, ApiEnvironment>,
}

/// One environment of an API.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiEnvironment {
    /// The FHIR base URL; absent where the publisher does not publish it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The server family, one of `config/platforms/`, whose known habits preset strategies and rewrites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// How requests are authorized there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Origins besides the base URL's that may receive requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_origins: Vec<TrustedOrigin>,
    /// Replacements in the links that the server gives, applied in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrite_next: Vec<RewriteRule>,
}
