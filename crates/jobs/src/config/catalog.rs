//! The catalogue: what is known of each publisher's APIs, one file a publisher in `config/apis/`.

use std::{collections::BTreeMap, fmt};

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ConfigError, Loader, SANDBOX_SCHEME,
    auth::{Auth, is_open},
    model::{RewriteRule, TrustedOrigin},
    openapi, shipped,
};

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
    /// The search parameters of each type, where an OpenAPI file told them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub search_parameters: BTreeMap<String, Vec<String>>,
    /// What else the publisher does not publish, for people: what stands in no key of this file.
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

/// A value that a request needs and that is not filled in, since the publisher does not publish it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blank {
    /// The key below the environment's table: `base_url`, `auth.header`.
    pub key: String,
    /// Where to find its value.
    pub found_in: String,
}

impl fmt::Display for Blank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (see {})", self.key, self.found_in)
    }
}

/// What an OpenAPI file filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The file that was changed.
    pub file: Utf8PathBuf,
    /// The keys that were set.
    pub set: Vec<String>,
    /// What the file tells more than once, for a person to choose.
    pub undecided: Vec<String>,
    /// The keys that are still to be filled in.
    pub blanks: Vec<Blank>,
}

impl Loader {
    /// Takes what an OpenAPI file tells of an API into the catalogue's file, whose comments stay.
    ///
    /// # Errors
    /// The file is no OpenAPI file, there is no such API or environment, or the catalogue cannot be written.
    pub fn import(&self, id: &str, environment: &str, file: &Utf8Path) -> Result<Imported, ConfigError> {
        let wrong = |message: String| ConfigError::Api { message };
        let told = openapi::read(&shipped::read(file)?).map_err(|why| wrong(format!("{file} {why}")))?;
        let (publisher, name) = id.split_once('/').unwrap_or((id, id));
        let path = self.config.join("apis").join(format!("{publisher}.toml"));
        if !path.is_file() {
            return Err(wrong(format!(
                "there is no {path} to fill in: copy the project's config folder there, or name one with --config"
            )));
        }
        let variable = format!("{}_API_KEY", publisher.replace('-', "_").to_uppercase());
        let put = openapi::put(&shipped::read(&path)?, name, environment, &variable, &told);
        let (text, set) = put.map_err(|why| wrong(format!("{path} {why}")))?;
        let folder = path.parent().unwrap_or(&path);
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut new| {
            std::io::Write::write_all(&mut new, text.as_bytes())?;
            let mode = std::fs::metadata(&path)?.permissions();
            std::fs::set_permissions(new.path(), mode)?;
            new.persist(&path).map_err(|error| error.error)
        });
        written.map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
        let catalog = self.catalog()?;
        let blanks = catalog.get(publisher).map(|all| (all, all.apis.get(name)));
        let blanks = blanks.and_then(|(all, api)| Some(api?.blanks(environment, &all.publisher))).unwrap_or_default();
        Ok(Imported { file: path, set, undecided: told.undecided, blanks })
    }
}

/// Where a value that is not published is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// In the API's OpenAPI file.
    OpenApi,
    /// In what the publisher answers to a registration.
    Registration,
}

impl Found {
    fn told(self, publisher: &Publisher) -> String {
        let at = |place: &Option<String>| place.as_ref().map_or_else(String::new, |url| format!(" at {url}"));
        match self {
            Self::OpenApi => format!("the API's OpenAPI file in the catalogue{}", at(&publisher.catalogue)),
            Self::Registration => format!("the OAuth credentials of your application{}", at(&publisher.portal)),
        }
    }
}

impl Api {
    /// What has to be filled in before the API can be reached in one of its environments.
    #[must_use]
    pub fn blanks(&self, environment: &str, publisher: &Publisher) -> Vec<Blank> {
        let Some(place) = self.environments.get(environment) else { return Vec::new() };
        let base = place.base_url.as_deref();
        if base.is_some_and(|url| url.starts_with(SANDBOX_SCHEME)) {
            return Vec::new();
        }
        let mut blanks = Vec::new();
        if base.is_none_or(is_open) {
            blanks.push(("base_url".to_owned(), Found::OpenApi));
        }
        match &place.auth {
            None => blanks.push(("auth".to_owned(), Found::OpenApi)),
            Some(auth) => {
                blanks.extend(auth.blanks().into_iter().map(|(key, found)| (format!("auth.{key}"), found)));
            }
        }
        blanks.into_iter().map(|(key, found)| Blank { key, found_in: found.told(publisher) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> BTreeMap<String, PublisherFile> {
        let nowhere = "there-is-no-such-folder";
        Loader { config: nowhere.into(), jobs: nowhere.into(), variables: None, flags: Vec::new() }.catalog().unwrap()
    }

    #[test]
    fn every_api_of_the_portal_is_there_and_the_sandbox_plays_it() {
        let catalog = catalog();
        let apis: Vec<String> =
            catalog.iter().flat_map(|(file, all)| all.apis.keys().map(move |name| format!("{file}/{name}"))).collect();
        assert_eq!(
            apis,
            [
                "bcbs-wyoming/patient-access",
                "bcbs-wyoming/prime-explanation-of-benefits",
                "bcbs-wyoming/sandbox-patient-access",
                "highmark/esi-formulary",
                "highmark/esi-patient-access",
                "highmark/esi-provider-directory",
                "highmark/patient-access",
                "highmark/patient-access-wholecare",
                "highmark/provider-directory",
                "highmark/sandbox-patient-access",
            ]
        );
        for (file, publisher) in &catalog {
            for (name, api) in &publisher.apis {
                assert_eq!(api.blanks("local", &publisher.publisher), Vec::new(), "{file}/{name}");
                assert!(api.environments.contains_key("production"), "{file}/{name}");
            }
        }
    }

    #[test]
    fn what_is_not_published_is_named_with_the_place_to_look() {
        let catalog = catalog();
        let blanks = |file: &str, name: &str, environment: &str| {
            let publisher = &catalog[file];
            let blanks = publisher.apis[name].blanks(environment, &publisher.publisher);
            blanks.into_iter().map(|blank| blank.key).collect::<Vec<_>>()
        };
        for (file, name, environment, keys) in [
            ("highmark", "provider-directory", "production", vec!["base_url", "auth.header"]),
            ("highmark", "patient-access", "production", vec!["base_url", "auth.client_id"]),
            (
                "highmark",
                "patient-access",
                "qa",
                vec!["base_url", "auth.authorize_url", "auth.token_url", "auth.client_id"],
            ),
            ("bcbs-wyoming", "prime-explanation-of-benefits", "production", vec!["base_url", "auth"]),
        ] {
            assert_eq!(blanks(file, name, environment), keys, "{file}/{name} {environment}");
        }
        let publisher = &catalog["highmark"];
        let told = publisher.apis["patient-access"].blanks("production", &publisher.publisher);
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("api-catalog/apicatalog") && told[1].contains("highmark-getting-started"), "{told:?}");
    }
}
