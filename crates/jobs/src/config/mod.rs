//! Configuration: files in layers, checked whole, resolved into [`Job`]s. Secrets stay references until a run needs
//! them.

mod above;
mod auth;
mod catalog;
mod check;
mod encryption;
mod format;
mod layers;
mod model;
mod openapi;
mod patients;
mod platform;
mod quantity;
mod resource;
mod rules;
mod secret;
mod shipped;
mod show;

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use layers::{Layer, key};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::schedule::Timetable;

pub use auth::{Auth, ClientAuth, OauthCode, SigningAlgorithm, SmartBackend};
pub use catalog::{Api, ApiEnvironment, Blank, Imported, Publisher, PublisherFile};
pub use check::Mistake;
pub use encryption::EncryptionConfig;
pub use model::{
    LimitsConfig, MetricsConfig, NotifyConfig, NotifyWhen, Publish, Rate, Refresh, RewriteRule, SandboxConfig,
    Settings, SourceConfig, TrustedOrigin, WebhookConfig,
};
pub use patients::PatientsConfig;
pub use platform::{PlatformFile, ValueSets};
pub use quantity::{Size, Span};
pub use resource::{
    BulkConfig, ChainConfig, DateRangeConfig, IncludeConfig, OffsetBy, OffsetConfig, PrefixConfig, ResourceConfig,
    StrategyName, ValuesConfig,
};
pub use secret::{SecretError, SecretRef};
pub(crate) use shipped::sql_templates;
pub use shipped::{ConfigText, DEFAULTS};
pub use show::ShownValue;

pub(crate) use check::{nearest, position};

/// The newest file format this program reads.
pub const VERSION: u32 = 1;

/// The scheme of a base URL that names an API of the built-in sandbox: `sandbox:/highmark/provider-directory`.
pub const SANDBOX_SCHEME: &str = "sandbox:";

/// What is wrong with the configuration. All of these end the program with exit code 2, before anything is written.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Mistakes in files, all of them.
    #[error("{}", list(mistakes))]
    Invalid {
        /// In the order of the files.
        mistakes: Vec<Mistake>,
    },
    /// The key of encrypted tables cannot be had.
    #[error("the key of [encryption] cannot be had")]
    EncryptionKey {
        /// Why.
        source: SecretError,
    },
    /// What should be the key of encrypted tables is none. It is not shown.
    #[error("the key of [encryption] is not 32 bytes in base64: `openssl rand -base64 32` makes one")]
    NoEncryptionKey,
    /// The layers together do not make a job.
    #[error("the settings of job `{job}` do not fit together: {message}")]
    Merged {
        /// The job's name.
        job: String,
        /// What is wrong, with the layer it comes from where that is known.
        message: String,
    },
    /// A file that cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No such job.
    #[error("there is no job `{name}` in {folder} ({help})")]
    NoJob {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        folder: Utf8PathBuf,
        /// The nearest name.
        help: String,
    },
    /// A job that cannot be resolved against the catalogue.
    #[error("job `{job}`: {message}")]
    Job {
        /// The job's name.
        job: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// An API that cannot be found, or not as it stands.
    #[error("{message}")]
    Api {
        /// What is wrong and what to do.
        message: String,
    },
    /// A secret that cannot be had.
    #[error("job `{job}`: its credentials are not there")]
    Secret {
        /// The job's name.
        job: String,
        /// Why.
        source: SecretError,
    },
}

fn list(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    match mistakes.len() {
        1 => lines.join(""),
        n => format!("{n} mistakes in the configuration\n{}", lines.join("\n")),
    }
}

/// A source with its place in the lake.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its name in the lake's paths: letters, digits and hyphens.
    pub name: String,
    /// The FHIR base URL, or `sandbox:/path`.
    pub base_url: String,
    /// The server family, one of `config/platforms/`.
    pub platform: Option<String>,
    /// How requests are authorized.
    pub auth: Auth,
    /// Origins besides the base URL's that may receive requests.
    pub trusted_origins: Vec<TrustedOrigin>,
    /// Replacements in the links that the server gives.
    pub rewrite_next: Vec<RewriteRule>,
}

impl From<Source> for SourceConfig {
    fn from(source: Source) -> Self {
        let Source { name, base_url, platform, auth, trusted_origins, rewrite_next } = source;
        Self { name, base_url, platform, auth, trusted_origins, rewrite_next }
    }
}

impl Source {
    /// The path within the built-in sandbox, if that is where the source is.
    #[must_use]
    pub fn sandbox_path(&self) -> Option<&str> {
        self.base_url.strip_prefix(SANDBOX_SCHEME)
    }
}

/// A job, resolved: nothing is left to look up but its secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// The catalogued API, if it is one.
    pub api: Option<String>,
    /// Where the data come from.
    pub source: Source,
    /// All other settings.
    pub settings: Settings,
    /// The texts of its views, in path order.
    pub views: Vec<ConfigText>,
}

/// Where the configuration is and what is laid over it.
#[derive(Debug, Clone)]
pub struct Loader {
    /// The configuration folder; where it does not exist, the shipped one inside the binary is used.
    pub config: Utf8PathBuf,
    /// The folder with one file a job.
    pub jobs: Utf8PathBuf,
    /// `FHIRVEST__…` variables; `None` takes the process's own.
    pub variables: Option<BTreeMap<String, String>>,
    /// Values from flags by key, laid over everything.
    pub flags: Vec<(String, String)>,
}

impl Loader {
    /// The names of all jobs, in order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn job_names(&self) -> Result<Vec<String>, ConfigError> {
        let mut names = Vec::new();
        for path in shipped::entries(&self.jobs)? {
            if path.extension() == Some("toml") {
                names.extend(path.file_stem().map(ToOwned::to_owned));
            }
        }
        Ok(names)
    }

    /// Loads the named jobs, or all of them.
    ///
    /// # Errors
    /// Every mistake of every file concerned, together.
    pub fn jobs(&self, names: &[String]) -> Result<Vec<Job>, ConfigError> {
        let known = self.job_names()?;
        let names = if names.is_empty() { &known } else { names };
        let (mut jobs, mut mistakes) = (Vec::new(), Vec::new());
        for name in names {
            if !known.contains(name) {
                let help = nearest(name, known.iter().map(String::as_str));
                return Err(ConfigError::NoJob { name: name.clone(), folder: self.jobs.clone(), help });
            }
            match self.job(name) {
                Ok(job) => jobs.push(job),
                Err(ConfigError::Invalid { mistakes: more }) => {
                    mistakes.extend(more.into_iter().filter(|one| !mistakes.contains(one)).collect::<Vec<_>>());
                }
                Err(other) => return Err(other),
            }
        }
        for (place, job) in jobs.iter().enumerate() {
            if let Some(other) = jobs[..place].iter().find(|other| other.name == job.name) {
                let message = format!("is the name of two files of {}: rename one", self.jobs);
                return Err(ConfigError::Job { job: other.name.clone(), message });
            }
        }
        if mistakes.is_empty() { Ok(jobs) } else { Err(ConfigError::Invalid { mistakes }) }
    }

    /// The platforms, by name.
    ///
    /// # Errors
    /// Every mistake of every file of `config/platforms/`.
    pub fn platforms(&self) -> Result<BTreeMap<String, PlatformFile>, ConfigError> {
        self.read_all("platforms")
    }

    /// Puts in what the source's platform presets and what the named lists of values hold.
    ///
    /// # Errors
    /// No such platform or list, or a mistake in their files.
    pub fn preset(&self, job: &str, source: &mut Source, settings: &mut Settings) -> Result<(), ConfigError> {
        let wrong = |message: String| ConfigError::Job { job: job.to_owned(), message };
        if let Some(name) = &source.platform {
            let platforms = self.platforms()?;
            let Some(platform) = platforms.get(name) else {
                let help = nearest(name, platforms.keys().map(String::as_str));
                return Err(wrong(format!("there is no platform `{name}` in config/platforms ({help})")));
            };
            source.rewrite_next.extend(platform.rewrite_next.iter().cloned());
            for (resource_type, own) in &mut settings.resources {
                *own = platform.under(resource_type, std::mem::take(own));
            }
        }
        let named = |own: &ResourceConfig| own.values.as_ref().and_then(|values| values.set.clone());
        if settings.resources.values().all(|own| named(own).is_none()) {
            return Ok(());
        }
        let sets = self.value_sets()?;
        for own in settings.resources.values_mut() {
            let Some(values) = own.values.as_mut() else { continue };
            let Some(name) = values.set.take() else { continue };
            if !values.list.is_empty() {
                return Err(wrong("`values` has both `list` and `set`: keep one".into()));
            }
            let Some(list) = sets.get(&name) else {
                let help = nearest(&name, sets.keys().map(String::as_str));
                return Err(wrong(format!("there is no list `{name}` in config/value-sets.toml ({help})")));
            };
            values.list = list.clone();
        }
        Ok(())
    }

    fn value_sets(&self) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
        let Some(file) = shipped::file(&self.config, "value-sets.toml")? else { return Ok(BTreeMap::new()) };
        read_checked::<ValueSets>(&file).map(|read| read.sets).map_err(|mistakes| ConfigError::Invalid { mistakes })
    }

    /// The catalogue, by publisher.
    ///
    /// # Errors
    /// Every mistake of every file of `config/apis/`.
    pub fn catalog(&self) -> Result<BTreeMap<String, PublisherFile>, ConfigError> {
        self.read_all("apis")
    }

    /// Every TOML file of a folder of the configuration, by its name.
    fn read_all<T: DeserializeOwned + JsonSchema>(&self, folder: &str) -> Result<BTreeMap<String, T>, ConfigError> {
        let (mut all, mut mistakes) = (BTreeMap::new(), Vec::new());
        for file in shipped::files(&self.config, folder, ".toml")? {
            match read_checked(&file) {
                Ok(read) => drop(all.insert(file.path.trim_end_matches(".toml").to_owned(), read)),
                Err(found) => mistakes.extend(found),
            }
        }
        if mistakes.is_empty() { Ok(all) } else { Err(ConfigError::Invalid { mistakes }) }
    }

    /// The settings of a job that has no file: the defaults, variables and flags.
    ///
    /// # Errors
    /// A variable or flag that does not fit.
    pub fn settings(&self, name: &str) -> Result<Settings, ConfigError> {
        self.merge(name, &self.layers(None, None)?)
    }

    fn job(&self, name: &str) -> Result<Job, ConfigError> {
        let file = self.job_file(name)?;
        let environment = self.environment(Some(&file))?;
        let layers = self.read_layers(Some(file), environment.as_deref())?;
        self.no_mistakes(&layers, environment.as_deref())?;
        let mut settings = self.merge(name, &layers)?;
        let name = settings.name.clone().unwrap_or_else(|| name.to_owned());
        let mut source = self.source(&name, &settings)?;
        self.preset(&name, &mut source, &mut settings)?;
        let views = self.views(&name, &settings.views)?;
        let job = Job { name, api: settings.api.clone(), source, settings, views };
        job.validate()?;
        Ok(job)
    }

    /// Every mistake of a job's layers: those of each file by itself, and those of their values together.
    fn no_mistakes(&self, layers: &[Layer], environment: Option<&str>) -> Result<(), ConfigError> {
        let layers = &[layers, &self.above()].concat();
        let mut mistakes = mistakes_of(layers);
        let mut values = layers::merged(layers);
        if let (Value::Object(values), Some(environment)) = (&mut values, environment) {
            values.insert("environment".to_owned(), environment.into());
        }
        let mut findings = rules::findings(&values, &rules::Known::of(self));
        let text = |name: &str| values.get(name).and_then(Value::as_str);
        if let (Some(api), Some(environment), None) = (text("api"), text("environment"), values.get("source")) {
            match self.catalogued(api, environment) {
                Ok(_) => {}
                Err(Ok(message)) => findings.push(rules::Finding { key: key(&["api"]), message, help: None }),
                Err(Err(ConfigError::Invalid { mistakes: more })) => mistakes.extend(more),
                Err(Err(error)) => return Err(error),
            }
        }
        for one in findings {
            let found = layers::mistake(layers, &one.key, one.message, one.help);
            // A key that is misspelt already explains what seems to be missing.
            if !mistakes.contains(&found) {
                mistakes.push(found);
            }
        }
        let order = |file: &str| layers.iter().position(|layer| layer.origin == file);
        mistakes.sort_by_key(|one| (order(&one.file), one.span.start));
        if mistakes.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { mistakes }) }
    }

    fn job_file(&self, name: &str) -> Result<Layer, ConfigError> {
        let path = self.jobs.join(format!("{name}.toml"));
        Ok(Layer { text: shipped::read(&path)?, origin: path.into_string(), placeless: false })
    }

    /// The environment decides which file is laid under the job's, so it is looked up before the layers are merged.
    fn environment(&self, job: Option<&Layer>) -> Result<Option<String>, ConfigError> {
        if let Some((_, value)) = self.flags.iter().find(|(key, _)| key == "environment") {
            return Ok(Some(value.clone()));
        }
        let variable = match &self.variables {
            Some(variables) => variables.get("FHIRVEST__ENVIRONMENT").cloned(),
            None => std::env::var("FHIRVEST__ENVIRONMENT").ok(),
        };
        if variable.is_some() {
            return Ok(variable);
        }
        let stated = |text: &str| {
            let table = text.parse::<toml::Table>().ok()?;
            table.get("environment")?.as_str().map(ToOwned::to_owned)
        };
        if let Some(stated) = job.and_then(|layer| stated(&layer.text)) {
            return Ok(Some(stated));
        }
        let on_disk = shipped::file(&self.config, "default.toml")?;
        Ok(on_disk.and_then(|file| stated(&file.text)).or_else(|| stated(DEFAULTS)))
    }

    fn layers(&self, job: Option<Layer>, environment: Option<&str>) -> Result<Vec<Layer>, ConfigError> {
        let layers = self.read_layers(job, environment)?;
        let mistakes = mistakes_of(&[layers.as_slice(), &self.above()].concat());
        if mistakes.is_empty() { Ok(layers) } else { Err(ConfigError::Invalid { mistakes }) }
    }

    fn read_layers(&self, job: Option<Layer>, environment: Option<&str>) -> Result<Vec<Layer>, ConfigError> {
        let mut layers =
            vec![Layer { origin: "built-in:default.toml".into(), text: DEFAULTS.into(), placeless: false }];
        let named = environment.map(|name| format!("{name}.toml"));
        for path in ["default.toml"].into_iter().chain(named.as_deref()) {
            if let Some(file) = shipped::file(&self.config, path)? {
                layers.push(Layer { origin: file.origin, text: file.text, placeless: false });
            }
        }
        layers.extend(job);
        Ok(layers)
    }

    fn merge(&self, job: &str, layers: &[Layer]) -> Result<Settings, ConfigError> {
        let merged =
            |error: config::ConfigError| ConfigError::Merged { job: job.to_owned(), message: error.to_string() };
        let mut builder = config::Config::builder();
        for layer in layers {
            builder = builder.add_source(config::File::from_str(&layer.text, config::FileFormat::Toml));
        }
        let variables = self.variables.clone().map(|variables| variables.into_iter().collect());
        builder = builder.add_source(
            config::Environment::with_prefix("FHIRVEST").prefix_separator("__").separator("__").source(variables),
        );
        for (key, value) in &self.flags {
            builder = builder.set_override(key, value.as_str()).map_err(merged)?;
        }
        let mut settings: Settings = builder.build().and_then(config::Config::try_deserialize).map_err(merged)?;
        settings.place_lake();
        if settings.version == VERSION {
            Ok(settings)
        } else {
            let message = format!("version = {}, but this program reads version {VERSION}", settings.version);
            Err(ConfigError::Merged { job: job.to_owned(), message })
        }
    }

    fn source(&self, job: &str, settings: &Settings) -> Result<Source, ConfigError> {
        let wrong = |message: String| ConfigError::Job { job: job.to_owned(), message };
        match (&settings.api, &settings.source) {
            (Some(_), Some(_)) => Err(wrong("has both `api` and `[source]`: keep one".into())),
            (None, None) => Err(wrong(
                "has neither `api` nor `[source]`: name an API of `fhirvest apis`, or describe a source".into(),
            )),
            (None, Some(source)) => Ok(Source {
                name: source.name.clone(),
                base_url: source.base_url.clone(),
                platform: source.platform.clone(),
                auth: source.auth.clone(),
                trusted_origins: source.trusted_origins.clone(),
                rewrite_next: source.rewrite_next.clone(),
            }),
            (Some(api), None) => self.catalogued(api, &settings.environment).map_err(|error| match error {
                Ok(message) => wrong(message),
                Err(error) => error,
            }),
        }
    }

    /// An API of the catalogue in one of its environments.
    ///
    /// # Errors
    /// There is no such API or environment, or something is to be filled in first.
    pub fn api(&self, id: &str, environment: &str) -> Result<Source, ConfigError> {
        self.catalogued(id, environment).map_err(|error| match error {
            Ok(message) => ConfigError::Api { message },
            Err(error) => error,
        })
    }

    fn catalogued(&self, id: &str, environment: &str) -> Result<Source, Result<String, ConfigError>> {
        let catalog = self.catalog().map_err(Err)?;
        let ids: Vec<String> =
            catalog.iter().flat_map(|(file, all)| all.apis.keys().map(move |api| format!("{file}/{api}"))).collect();
        let found = id.split_once('/').and_then(|(file, api)| catalog.get(file)?.apis.get(api));
        let Some(api) = found else {
            let help = nearest(id, ids.iter().map(String::as_str));
            return Err(Ok(format!("there is no API `{id}` in the catalogue ({help})")));
        };
        let Some(place) = api.environments.get(environment) else {
            let known: Vec<&str> = api.environments.keys().map(String::as_str).collect();
            let known = known.join(", ");
            return Err(Ok(format!("the API `{id}` has no environment `{environment}` (it has: {known})")));
        };
        let (file, name) = id.split_once('/').unwrap_or((id, id));
        let blanks = api.blanks(environment, &catalog[file].publisher);
        let (Some(base_url), true) = (place.base_url.clone(), blanks.is_empty()) else {
            let listed: Vec<String> = blanks.iter().map(ToString::to_string).collect();
            return Err(Ok(format!(
                "the publisher of `{id}` does not publish all that a request to `{environment}` needs, so it is not \
                 filled in: {}. Set it under [apis.{name}.environments.{environment}] in {}/apis/{file}.toml, or let \
                 `fhirvest apis import FILE --api {id} --environment {environment}` take it from the API's OpenAPI file",
                listed.join("; "),
                self.config,
            )));
        };
        Ok(Source {
            name: id.replace('/', "-"),
            base_url,
            platform: place.platform.clone(),
            auth: place.auth.clone().unwrap_or_default(),
            trusted_origins: place.trusted_origins.clone(),
            rewrite_next: place.rewrite_next.clone(),
        })
    }

    /// Every view of the configuration folder, in path order.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn all_views(&self) -> Result<Vec<ConfigText>, ConfigError> {
        shipped::files(&self.config, "views", ".json")
    }

    /// The views that patterns such as `plan-net/*` or `plan-net/practitioner` name.
    ///
    /// # Errors
    /// A pattern that matches nothing.
    pub fn views(&self, job: &str, patterns: &[String]) -> Result<Vec<ConfigText>, ConfigError> {
        let all = shipped::files(&self.config, "views", ".json")?;
        let mut chosen: Vec<ConfigText> = Vec::new();
        for pattern in patterns {
            let before = chosen.len();
            let fits = all
                .iter()
                .filter(|file| matches(pattern.trim_end_matches(".json"), file.path.trim_end_matches(".json")));
            let mut any = false;
            for file in fits {
                any = true;
                if !chosen.contains(file) {
                    chosen.push(file.clone());
                }
            }
            if !any && chosen.len() == before {
                let names = all.iter().map(|file| file.path.trim_end_matches(".json"));
                let message = format!("no view fits `{pattern}` ({})", nearest(pattern, names));
                return Err(ConfigError::Job { job: job.to_owned(), message });
            }
        }
        Ok(chosen)
    }
}

impl Job {
    /// A job without a file, checked like one with.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(name: String, source: Source, settings: Settings, views: Vec<ConfigText>) -> Result<Self, ConfigError> {
        let job = Self { name, api: None, source, settings, views };
        job.validate()?;
        Ok(job)
    }

    /// What no schema can say.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |message: String| Err(ConfigError::Job { job: self.name.clone(), message });
        for (what, name) in [("its name", &self.name), ("the name of its source", &self.source.name)] {
            if let Err(mistake) = format::name(name) {
                return wrong(format!("{what}: {}", mistake.message));
            }
        }
        if self.settings.resources.is_empty() {
            return wrong("has no [resources.<Type>]: say what to harvest".into());
        }
        for name in self.settings.resources.keys() {
            if let Err(mistake) = format::resource_type(name) {
                let help = mistake.help.unwrap_or_default();
                return wrong(format!("{} ({help})", mistake.message));
            }
        }
        self.members()?;
        for name in self.settings.resources.keys() {
            let found = self.strategy(name, &[], chrono::DateTime::UNIX_EPOCH);
            let (strategy, _) = match found {
                Ok(found) => found,
                Err(message) => return wrong(format!("[resources.{name}]: {message}")),
            };
            if let Some(from) = strategy.source() {
                if from == name {
                    return wrong(format!("[resources.{name}]: the type cannot start from itself"));
                }
                if !self.settings.resources.contains_key(from) {
                    return wrong(format!(
                        "[resources.{name}]: its strategy starts from {from}, which the job does not harvest: add [resources.{from}]"
                    ));
                }
            }
        }
        self.timetable()?;
        if self.source.sandbox_path().is_none() {
            if let Some((key, _)) = self.source.auth.blanks().first() {
                return wrong(format!("source.auth.{key} is not filled in"));
            }
            if let Err(mistake) = format::address(&self.source.base_url) {
                let help = mistake.help.map(|help| format!(" ({help})")).unwrap_or_default();
                return wrong(format!("base_url: {}{help}", mistake.message));
            }
        }
        Ok(())
    }

    /// When the job is due, if it has a schedule.
    ///
    /// # Errors
    /// The schedule or the time zone is none.
    pub fn timetable(&self) -> Result<Option<Timetable>, ConfigError> {
        let wrong = |message: String| ConfigError::Job { job: self.name.clone(), message };
        format::time_zone(&self.settings.timezone).map_err(|mistake| wrong(mistake.message))?;
        let zone = self.settings.timezone.parse().unwrap_or(chrono_tz::Tz::UTC);
        let table = self.settings.schedule.as_deref().map(|schedule| Timetable::new(schedule, zone)).transpose();
        table.map_err(|error| wrong(error.to_string()))
    }

    /// Where the lake is.
    #[must_use]
    pub fn lake(&self) -> &Utf8Path {
        Utf8Path::new(&self.settings.lake)
    }
}

/// `*` stands for any text but `/`.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            let reach = rest.find('/').unwrap_or(rest.len());
            (0..=reach).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
        }),
    }
}

/// Every mistake that the files have each by itself.
fn mistakes_of(layers: &[Layer]) -> Vec<Mistake> {
    let schema = Value::from(schemars::schema_for!(Settings));
    let mut mistakes = Vec::new();
    for layer in layers {
        let found = check::check(&layer.origin, &layer.text, &schema);
        let place = |one: Mistake| if layer.placeless { Mistake { line: 0, column: 0, ..one } } else { one };
        mistakes.extend(found.into_iter().map(place));
    }
    mistakes
}

/// Reads a TOML file that is no layer: all of it has to be there.
fn read_checked<T: DeserializeOwned + JsonSchema>(file: &ConfigText) -> Result<T, Vec<Mistake>> {
    let found = check::check(&file.origin, &file.text, &Value::from(schemars::schema_for!(T)));
    if found.is_empty() {
        toml::from_str(&file.text).map_err(|error| vec![from_toml(&file.origin, &file.text, &error)])
    } else {
        Err(found)
    }
}

fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> Mistake {
    let span = error.span().unwrap_or(0..0);
    let (line, column) = position(text, span.start);
    Mistake { file: file.to_owned(), line, column, span, message: error.message().to_owned(), help: None }
}
