//! The shape of the configuration files. The JSON Schemas under `config/schema/` are made from these types, and the
//! checker in [`super::check`] reads the same schemas, so a key exists in one place only.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::sign_in::SignInConfig;

use super::{
    auth::Auth,
    encryption::EncryptionConfig,
    patients::PatientsConfig,
    quantity::{Size, Span},
    resource::ResourceConfig,
    secret::SecretRef,
};

/// Everything one job needs, after the layers are put together: `config/default.toml` gives each key a value, the
/// environment's file, the job's file, `FHIRVEST__SECTION__KEY` variables and flags replace some of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The version of the file format: 1.
    pub version: u32,
    /// The job's name: letters, digits and hyphens; by default the file's name.
    #[schemars(extend("format" = "name"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The catalogued API to harvest, as `publisher/api`. Either this or `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// A source described in place. Either this or `api`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceConfig>,
    /// Where the API is reached: `local` (the built-in sandbox), `qa` or `production`, or a name of your own.
    pub environment: String,
    /// When `fhirvest schedule` runs the job: five cron fields, in the job's time zone.
    #[schemars(extend("format" = "cron"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of `schedule`, as in the IANA database.
    #[schemars(extend("format" = "time-zone"))]
    pub timezone: String,
    /// A run begins up to so much later than `schedule` says, by a delay that hangs on the job and the time, so that
    /// many jobs do not begin at once.
    pub jitter: Span,
    /// The views to flatten with, relative to `config/views`; `*` stands for any file name.
    pub views: Vec<String>,
    /// Whether each run asks for everything or only for what has changed.
    pub refresh: Refresh,
    /// With `refresh = "incremental"`: how often everything is asked for all the same, to find deletions.
    pub full_every: Span,
    /// Which tables a run may replace.
    pub publish: Publish,
    /// The least share of the server's own count that must have arrived for a type to be complete: 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_coverage: f64,
    /// A table that lost more than this share of its rows is held back: 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_shrink: f64,
    /// How many snapshots of each table are kept; 0 keeps all. What analysts see is never removed.
    pub keep_snapshots: usize,
    /// How long snapshots are kept; `0s` keeps them for ever.
    pub keep_snapshots_for: Span,
    /// How many archives of the job are kept; 0 keeps all. The last complete one of each type is never removed.
    pub keep_archives: usize,
    /// How long archives are kept; `0s` keeps them for ever.
    pub keep_archives_for: Span,
    /// Whether the job's data are about persons: they go to a lake of their own, which nobody but its owner can open.
    pub sensitive: bool,
    /// The lake: a folder, or `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder`.
    pub lake: String,
    /// The lake of sensitive jobs; by default `lake` with `-sensitive` after its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitive_lake: Option<String>,
    /// What the tables of sensitive lakes are encrypted with; without it they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionConfig>,
    /// Where lakes in object stores are worked on: a folder below this one for each. It holds what an interrupted run has
    /// got so far.
    pub work_dir: String,
    /// How fast.
    pub rate: Rate,
    /// How much, how long, how often.
    pub limits: LimitsConfig,
    /// The resource types to harvest, and how.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "resource-type" }))]
    pub resources: BTreeMap<String, ResourceConfig>,
    /// Whose data the job asks for, where its API is about persons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patients: Option<PatientsConfig>,
    /// Where what `fhirvest login` brings is kept.
    pub sign_in: SignInConfig,
    /// The built-in sandbox that `environment = "local"` reaches.
    pub sandbox: SandboxConfig,
    /// Who is told how a run ended.
    #[serde(default)]
    pub notify: NotifyConfig,
    /// Numbers for a monitoring system.
    #[serde(default)]
    pub metrics: MetricsConfig,
}

/// Who is told how a run ended. A message that does not arrive never changes the run's own end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// After which runs.
    #[serde(default)]
    pub when: NotifyWhen,
    /// A program with its arguments, called with the report as JSON on its standard input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// An address that the report is posted to as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
    /// How long the program, or the address, may take.
    #[serde(default = "half_a_minute")]
    pub timeout: Span,
}

fn half_a_minute() -> Span {
    Span(std::time::Duration::from_secs(30))
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self { when: NotifyWhen::default(), command: Vec::new(), webhook: None, timeout: half_a_minute() }
    }
}

/// After which runs somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotifyWhen {
    /// Those that end with another exit code than 0.
    #[default]
    Problem,
    /// All.
    Always,
}

/// An address that the report of a run is posted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// The address, where it is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// Where the address is to be found, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_url: Option<SecretRef>,
    /// Where the token of an `Authorization: Bearer` header is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
}

/// Numbers for a monitoring system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// The folder of node-exporter's textfile collector: after each run `fhirvest-<job>.prom` is written there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub textfile_dir: Option<String>,
}

impl Settings {
    /// Where the lake is: that of sensitive data for a sensitive job. The name `x-sensitive` stays as it is, so that
    /// `--lake x-sensitive` names the lake that `--lake x` leads to.
    pub(super) fn place_lake(&mut self) {
        self.sensitive |= self.patients.is_some();
        if !self.sensitive {
            return;
        }
        let lake = self.lake.trim_end_matches('/');
        self.lake = match &self.sensitive_lake {
            Some(own) => own.clone(),
            None if lake.ends_with(SENSITIVE) => lake.to_owned(),
            None => format!("{lake}{SENSITIVE}"),
        };
    }
}

/// What follows the name of a lake in the name of its sensitive sibling.
const SENSITIVE: &str = "-sensitive";

/// Whether a run asks for everything or only for what has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Refresh {
    /// Everything, every time.
    Full,
    /// What has changed since the last complete run, where the server is seen to heed `_lastUpdated`; everything every
    /// `full_every`, to find deletions.
    Incremental,
}

/// Which tables a run may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Those whose resource types are all complete.
    Complete,
    /// All, partial ones too.
    Always,
    /// None; the archive is kept all the same.
    Never,
}

/// A source described in the job's own file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Its name in the lake: letters, digits and hyphens.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// The FHIR base URL, or `sandbox:/path` for an API of the built-in sandbox.
    #[schemars(extend("format" = "base-url"))]
    pub base_url: String,
    /// The server family, one of `config/platforms/`, whose known habits preset strategies and rewrites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// How requests are authorized.
    #[serde(default)]
    pub auth: Auth,
    /// Origins besides the base URL's that may receive requests.
    #[serde(default)]
    pub trusted_origins: Vec<TrustedOrigin>,
    /// Replacements in the links that the server gives, applied in order.
    #[serde(default)]
    pub rewrite_next: Vec<RewriteRule>,
}

/// An origin that may receive requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustedOrigin {
    /// Scheme, host and port: `https://files.acme.example`.
    pub origin: Url,
    /// Whether it may see the credentials too.
    #[serde(default)]
    pub credentials: bool,
}

/// A replacement in a link that the server gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewriteRule {
    /// The text to look for.
    pub from: String,
    /// What to put in its place.
    pub to: String,
}

/// How fast the job may ask. Retries count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests a second to one host; 0 means no limit.
    #[schemars(range(min = 0.0))]
    pub requests_per_second: f64,
    /// Requests that may go out at once after a pause.
    #[schemars(range(min = 1))]
    pub burst: u32,
    /// Requests in flight.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: usize,
}

/// Limits of a crawl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// For one whole response, not only its first byte.
    pub request_timeout: Span,
    /// Of one page, decompressed.
    pub max_page_bytes: Size,
    /// Attempts after the first, for one request.
    #[schemars(range(max = 100))]
    pub max_retries: u32,
    /// A longer `Retry-After` ends the run with exit code 75.
    pub max_wait: Span,
    /// Of one search: a server that pages for ever is stopped here, and the type is then partial.
    #[schemars(range(min = 1))]
    pub max_pages: u64,
}

/// The built-in sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxConfig {
    /// Practitioners in its directory.
    #[schemars(range(min = 1))]
    pub size: usize,
    /// The same seed makes the same world.
    pub seed: u64,
}
