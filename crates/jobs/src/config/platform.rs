//! Platforms: server families with their known habits, one file each in `config/platforms/`. A source that names one
//! takes its rewrites and, under what the job says itself, its strategies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{model::RewriteRule, resource::ResourceConfig};

/// One file of `config/platforms/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlatformFile {
    /// The version of the file format: 1.
    pub version: u32,
    /// The server family's name.
    pub title: String,
    /// What its servers do, in words.
    pub habits: String,
    /// Replacements in the links that the server gives, applied after those of the source itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrite_next: Vec<RewriteRule>,
    /// How any resource type is harvested, where neither the job nor `resources` says otherwise.
    #[serde(default)]
    pub defaults: ResourceConfig,
    /// How one resource type is harvested, where the job does not say otherwise.
    #[serde(default)]
    pub resources: BTreeMap<String, ResourceConfig>,
}

impl PlatformFile {
    /// A job's own keys for a type, completed by this platform's.
    #[must_use]
    pub fn under(&self, resource_type: &str, own: ResourceConfig) -> ResourceConfig {
        match self.resources.get(resource_type) {
            Some(preset) => own.over(&preset.clone().over(&self.defaults)),
            None => own.over(&self.defaults),
        }
    }
}

/// `config/value-sets.toml`: lists of values for `strategy = "values"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueSets {
    /// The version of the file format: 1.
    pub version: u32,
    /// The lists by name.
    pub sets: BTreeMap<String, Vec<String>>,
}
