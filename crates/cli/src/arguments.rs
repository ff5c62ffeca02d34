//! The command line.

use std::net::SocketAddr;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Harvests US health payers' FHIR R4 APIs into Parquet that opens in DuckDB.
#[derive(Debug, Parser)]
#[command(name = "fhirvest", version, propagate_version = true, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 a bug · 2 usage or configuration · 3 refused by the server · 4 unavailable after retries ·
5 finished but not complete · 6 storage · 75 asked to come back later · 130 interrupted after a clean commit";

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The configuration folder; where there is none, the configuration inside the binary
    #[arg(long, global = true, default_value = "config", value_name = "DIR", help_heading = "Global")]
    pub(crate) config: Utf8PathBuf,
    /// The folder with one file a job
    #[arg(long, global = true, default_value = "jobs", value_name = "DIR", help_heading = "Global")]
    pub(crate) jobs: Utf8PathBuf,
    /// The lake: a folder, s3://bucket/folder, gs://…, az://… [default: from the configuration, ./lake]
    #[arg(long, global = true, value_name = "LAKE", help_heading = "Global")]
    pub(crate) lake: Option<Utf8PathBuf>,
    /// Say more (twice: each request)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global")]
    pub(crate) verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global")]
    pub(crate) quiet: bool,
    /// How log lines look on standard error
    #[arg(long, global = true, value_enum, default_value = "text", help_heading = "Global")]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run jobs now: all of them, or those named
    #[command(after_help = "Example: fhirvest run provider-directory --max-pages 2")]
    Run(Run),
    /// Stay up and run every job at its time
    #[command(
        after_help = "Example: fhirvest schedule --listen 127.0.0.1:9464\nSIGTERM ends the runs after the page in flight; SIGHUP reads the jobs again."
    )]
    Schedule(Schedule),
    /// Flatten the archive of a run again, or of a job's last run, with the views of today and without any network
    #[command(after_help = "Example: fhirvest rerun provider-directory")]
    Rerun(Rerun),
    /// Publish a run that was held back
    #[command(after_help = "Example: fhirvest publish 20261123T020000Z-provider-directory")]
    Publish(PublishRun),
    /// Remove what the retention of the jobs no longer keeps
    #[command(after_help = "Example: fhirvest prune --dry-run")]
    Prune(Prune),
    /// Check every file of the lake against the ledger, and name what is damaged
    #[command(after_help = "Example: fhirvest verify --json")]
    Verify(Json),
    /// Crawl a FHIR server that has no configuration, with the built-in views
    #[command(after_help = "Example: fhirvest harvest https://fhir.example.org/r4 -r Practitioner,Location -o lake")]
    Harvest(Harvest),
    /// Check configuration and views, and probe what the jobs' servers do; nothing is written
    #[command(after_help = "Example: fhirvest check provider-directory --json")]
    Check(Check),
    /// Flatten FHIR files into tables, without a lake
    #[command(
        after_help = "Example: fhirvest flatten --view config/views/plan-net/location.json --input Location.ndjson.zst --output location.parquet"
    )]
    Flatten(Flatten),
    /// List, check and describe views
    #[command(subcommand)]
    Views(Views),
    /// Run SQL on FHIR's test files, and write the report that the registry of implementations takes
    #[command(after_help = "Example: fhirvest conformance sql-on-fhir/tests --report test_report.json")]
    Conformance(Conformance),
    /// History: what was run, and what came of it
    #[command(after_help = "Example: fhirvest runs 20261123T020000Z-provider-directory --json")]
    Runs(Runs),
    /// One web page about a run: what came, what changed, how good the data are, how the server behaved
    #[command(after_help = "Example: fhirvest report 20261123T020000Z-provider-directory -o report.html")]
    Report(Report),
    /// The text that a publisher's help desk asks for; nothing about persons or credentials is in it
    #[command(after_help = "Example: fhirvest support 20261123T020000Z-provider-directory")]
    Support(Support),
    /// Sign in to an API that holds a member's data, with the system's browser
    #[command(after_help = "Example: fhirvest login highmark/patient-access --environment production --no-browser")]
    Login(Login),
    /// End a sign-in: the server takes its tokens back where it can, and they are forgotten
    #[command(after_help = "Example: fhirvest logout highmark/patient-access --environment production")]
    Logout(Logout),
    /// The catalogue: every API, how to sign in, and what is still to be filled in
    #[command(after_help = "Example: fhirvest apis show highmark/patient-access")]
    Apis(Apis),
    /// Show the configuration as it is resolved, or the schema of its files
    #[command(subcommand)]
    Config(Config),
    /// Serve a synthetic payer, or your own NDJSON, on this machine
    #[command(after_help = "Example: fhirvest sandbox --listen 127.0.0.1:8080 --data ./ndjson")]
    Sandbox(Sandbox),
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// An API of the catalogue, as PUBLISHER/NAME, or a job
    #[arg(value_name = "API|JOB")]
    pub(crate) name: String,
    /// Where the API is reached: qa, production
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Open no browser: print the address to go to, and wait
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Whom the sign-in page may expect, where the server takes such a hint
    #[arg(long, value_name = "NAME")]
    pub(crate) hint: Option<String>,
    /// Seconds to wait for the browser to come back
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// An API of the catalogue, as PUBLISHER/NAME, or a job
    #[arg(value_name = "API|JOB")]
    pub(crate) name: String,
    /// Where the API is reached: qa, production
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Apis {
    #[command(subcommand)]
    pub(crate) command: Option<ApisCommand>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApisCommand {
    /// Fill in what an OpenAPI file (2.0 or 3.x, JSON or YAML) tells of an API, in config/apis
    #[command(after_help = "Example: fhirvest apis import pd.json --api highmark/provider-directory --environment qa")]
    Import {
        /// The OpenAPI file, from the publisher's catalogue
        #[arg(value_name = "FILE")]
        file: Utf8PathBuf,
        /// The API that it describes, as PUBLISHER/NAME
        #[arg(long, value_name = "API")]
        api: String,
        /// The environment that it describes
        #[arg(long, value_name = "NAME", default_value = "production")]
        environment: String,
        #[command(flatten)]
        json: Json,
    },
    /// One API: all that is known of it, what is to be filled in and where to find it
    #[command(after_help = "Example: fhirvest apis show highmark/provider-directory")]
    Show {
        /// The API, as PUBLISHER/NAME
        #[arg(value_name = "API")]
        api: String,
        #[command(flatten)]
        json: Json,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The jobs; all of the jobs folder when none is named
    #[arg(value_name = "JOB")]
    pub(crate) names: Vec<String>,
    /// Where the APIs are reached: local, qa, production
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `--json`.
#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON to standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The jobs; all of the jobs folder when none is named
    #[arg(value_name = "JOB")]
    pub(crate) names: Vec<String>,
    /// Give up an unfinished run and start anew
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Where the APIs are reached: local, qa, production
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Only these resource types
    #[arg(long, value_name = "TYPE,…", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Stop each search after so many pages: a sample, never published as complete
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_pages: Option<u64>,
    /// Write the run's numbers for node-exporter's textfile collector into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) metrics_dir: Option<Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Schedule {
    /// Serve /healthz, /metrics and a page of the jobs there
    #[arg(long, value_name = "ADDR", conflicts_with = "print")]
    pub(crate) listen: Option<SocketAddr>,
    /// Print the same schedule for another scheduler, and end
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) print: Option<ScheduleForm>,
    /// Where the APIs are reached: local, qa, production
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Rehearse: set the clock, and let it go so many times as fast: 2026-03-08T06:50:00Z*60
    #[arg(long, hide = true, value_name = "TIME[*SPEED]", value_parser = parse_clock)]
    pub(crate) clock: Option<(chrono::DateTime<chrono::Utc>, u32)>,
}

fn parse_clock(text: &str) -> Result<(chrono::DateTime<chrono::Utc>, u32), String> {
    let (time, speed) = text.split_once('*').unwrap_or((text, "1"));
    let time = time.parse().map_err(|error| format!("{time:?}: {error}"))?;
    Ok((time, speed.parse().map_err(|error| format!("{speed:?}: {error}"))?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScheduleForm {
    /// Lines of a crontab
    Cron,
    /// A script that writes systemd services and timers
    Systemd,
    /// Manifests of CronJobs
    Kubernetes,
}

#[derive(Debug, Args)]
pub(crate) struct Rerun {
    /// A run, or a job for its last run
    #[arg(value_name = "RUN|JOB")]
    pub(crate) name: String,
    /// Make every table again, not only those whose view has changed
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct PublishRun {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Harvest {
    /// The FHIR base URL
    #[arg(value_name = "BASE_URL")]
    pub(crate) base_url: String,
    /// The resource types
    #[arg(short, long, required = true, value_name = "TYPE,…", value_delimiter = ',')]
    pub(crate) resources: Vec<String>,
    /// The lake's folder
    #[arg(short, long, value_name = "LAKE")]
    pub(crate) output: Option<Utf8PathBuf>,
    /// The source's name in the lake [default: the server's host]
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// The server family, one of config/platforms, whose known habits choose strategies and rewrites
    #[arg(long, value_name = "NAME")]
    pub(crate) platform: Option<String>,
    /// `_count`: how many resources to ask for in a page
    #[arg(long, alias = "count", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) page_size: Option<u32>,
    /// Requests a second, 0 for no limit [default: from the configuration, 5]
    #[arg(long, value_name = "R")]
    pub(crate) rate: Option<f64>,
    /// Requests in flight
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// The environment variable that holds an API key
    #[arg(long, value_name = "VARIABLE", conflicts_with = "bearer_env")]
    pub(crate) api_key_env: Option<String>,
    /// The header that carries the API key
    #[arg(long, value_name = "HEADER", default_value = "x-api-key", requires = "api_key_env")]
    pub(crate) api_key_header: String,
    /// The environment variable that holds a bearer token
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) bearer_env: Option<String>,
    /// Views to flatten with, below the views folder; by default those of the resource types
    #[arg(long, value_name = "VIEW,…", value_delimiter = ',')]
    pub(crate) views: Vec<String>,
    /// Give up an unfinished run and start anew
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Stop each search after so many pages: a sample, never published as complete
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_pages: Option<u64>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Flatten {
    /// A ViewDefinition file; several may be given
    #[arg(long, required = true, value_name = "FILE")]
    pub(crate) view: Vec<Utf8PathBuf>,
    /// NDJSON (plain, .gz, .zst), a Bundle, a folder, or - for standard input; several may be given
    #[arg(long, required = true, value_name = "PATH")]
    pub(crate) input: Vec<Utf8PathBuf>,
    /// A file that ends with .parquet, .ndjson, .csv or .arrow, or - for standard output; a folder for several views
    #[arg(long, value_name = "PATH")]
    pub(crate) output: Utf8PathBuf,
    /// The format, where the output's name does not tell
    #[arg(long, value_enum)]
    pub(crate) format: Option<TableFormat>,
    /// A file for the lines that gave no rows in some table, with the reasons [default: beside the output]
    #[arg(long, value_name = "FILE")]
    pub(crate) quarantine: Option<Utf8PathBuf>,
    /// Threads that flatten [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    Parquet,
    Ndjson,
    Csv,
    Arrow,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Views {
    /// The shipped views and what they hold
    List(Json),
    /// Tell every mistake of views, and what is worth a look, with its place and its cure (docs/views has a page for each code)
    #[command(after_help = "Example: fhirvest views check my-view.json --format sarif > views.sarif")]
    Check {
        /// Files, or shipped views such as plan-net/location or plan-net/*; all shipped ones when none is named
        #[arg(value_name = "VIEW")]
        views: Vec<String>,
        /// text for people, json for programs, sarif for editors and CI
        #[arg(long, value_enum, default_value_t = LintFormat::Text)]
        format: LintFormat,
    },
    /// Column names and SQL types, as CREATE TABLE statements
    #[command(after_help = "Example: fhirvest views ddl plan-net/location")]
    Ddl {
        /// Shipped views such as plan-net/location or plan-net/*, or files; all shipped ones when none is named
        #[arg(value_name = "VIEW")]
        views: Vec<String>,
    },
}

/// The form in which mistakes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LintFormat {
    Text,
    Json,
    Sarif,
}

#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// A run to show in full
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// How many runs to list
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Where to write the page; - is standard output
    #[arg(short, long, value_name = "FILE", required_unless_present = "json")]
    pub(crate) output: Option<Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Support {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Every setting with its value and where that comes from
    #[command(after_help = "Example: fhirvest config show provider-directory")]
    Show {
        /// The job; without one, the defaults
        #[arg(value_name = "JOB")]
        job: Option<String>,
        /// The environment whose file is laid over the defaults
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
        #[command(flatten)]
        json: Json,
    },
    /// The JSON Schema of the job files, or of the files of config/apis
    Schema {
        /// Which files
        #[arg(value_enum, default_value = "job")]
        kind: SchemaKind,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaKind {
    Job,
    Api,
    /// A file of `config/platforms/`
    Platform,
    /// `config/value-sets.toml`
    ValueSets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConsentChoice {
    /// A page asks the member
    Asked,
    /// Nobody is asked
    Given,
}

#[derive(Debug, Args)]
pub(crate) struct Sandbox {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Serve the NDJSON files (.ndjson, .gz, .zst) of this folder instead of a synthetic payer
    #[arg(long, value_name = "DIR", conflicts_with_all = ["size", "seed"])]
    pub(crate) data: Option<Utf8PathBuf>,
    /// Practitioners in the synthetic directory
    #[arg(long, value_name = "N")]
    pub(crate) size: Option<usize>,
    /// The same seed makes the same world
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Misbehave; several may be given (`--fault help` lists them)
    #[arg(long, value_name = "NAME")]
    pub(crate) fault: Vec<String>,
    /// Never compress; without this, clients that accept gzip get it, as payers send it
    #[arg(long)]
    pub(crate) plain: bool,
    /// Behave as this vendor's servers do
    #[arg(long, value_name = "NAME")]
    pub(crate) platform: Option<String>,
    /// Members sign in to the APIs that hold their data: a page asks them, or nobody is asked
    #[arg(long, value_enum, value_name = "CONSENT", num_args = 0..=1, default_missing_value = "asked")]
    pub(crate) sign_in: Option<ConsentChoice>,
    /// Seconds that a token of the sign-in lives [default: 900]
    #[arg(long, value_name = "SECONDS", requires = "sign_in")]
    pub(crate) token_lifetime: Option<u64>,
    /// Seconds that a code of the sign-in lives [default: 60]
    #[arg(long, value_name = "SECONDS", requires = "sign_in")]
    pub(crate) code_lifetime: Option<u64>,
    /// The sign-in gives no refresh tokens
    #[arg(long, requires = "sign_in")]
    pub(crate) no_refresh: bool,
    /// The sign-in's client has a secret; the environment variable that holds it
    #[arg(long, value_name = "VARIABLE", requires = "sign_in")]
    pub(crate) client_secret_env: Option<String>,
    /// A program with a key pair asks for tokens, as SMART Backend Services has it; the file with its key set (JWKS). Its
    /// client id is fhirvest-backend
    #[arg(long, value_name = "FILE")]
    pub(crate) client_jwks: Option<Utf8PathBuf>,
    /// Ask for this key in the header x-api-key; the environment variable that holds it
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) api_key_env: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// The folder with the test files (*.json)
    pub(crate) dir: Utf8PathBuf,
    /// Where to write the report
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<Utf8PathBuf>,
}
