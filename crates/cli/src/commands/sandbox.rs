//! `fhirvest sandbox`, and the sandbox inside `fhirvest run`.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use camino::Utf8Path;
use fhirvest_jobs::{
    clock::Clock,
    config::{Auth, Job, OauthCode},
    run::{self, Exit},
    sign_in::{Place, SignIn as SignInFlow, TokenStore},
};
use fhirvest_sandbox::{ApiKey, BackendClient, Consent, Fault, Options, Platform, SignIn, World};
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpListener, sync::oneshot};

use crate::{
    arguments::{ConsentChoice, Global, Sandbox},
    failure::Failure,
    loopback::Loopback,
    output, telemetry,
};

/// The header in which the sandbox wants its key.
const HEADER: &str = "x-api-key";

pub(crate) async fn sandbox(global: &Global, arguments: &Sandbox) -> Result<Exit, Failure> {
    if arguments.fault.iter().any(|name| name == "help") {
        let rows = Fault::all().iter().map(|fault| vec![fault.to_string(), fault.description().to_owned()]).collect();
        output::data(&output::table(&["fault", "what the sandbox then does"], rows))?;
        return Ok(Exit::Done);
    }
    let settings = super::loader(global, Vec::new()).settings("sandbox")?.sandbox;
    let faults = arguments
        .fault
        .iter()
        .map(|name| Fault::from_str(name).map_err(|error| Failure::usage(format!("{error}: --fault help lists them"))))
        .collect::<Result<Vec<_>, _>>()?;
    let platform = arguments.platform.as_deref().map(Platform::from_str).transpose();
    let platform = platform.map_err(|error| Failure::usage(error.to_string()))?;
    let api_key = arguments.api_key_env.as_deref().map(variable).transpose()?;
    let api_key = api_key.map(|value| ApiKey { header: HEADER.to_owned(), value });
    let sign_in = arguments.sign_in.map(|consent| sign_in(arguments, consent)).transpose()?;
    let backend = arguments.client_jwks.as_deref().map(backend).transpose()?;
    let gzip = !arguments.plain;
    let options = Options { api_key, sign_in, backend, faults, platform, gzip, ..Options::default() };
    let world = match &arguments.data {
        Some(folder) => World::from_dir(folder.as_std_path()).map_err(|error| Failure::new(Exit::Usage, &error))?,
        None => World::synthetic(arguments.seed.unwrap_or(settings.seed), arguments.size.unwrap_or(settings.size)),
    };
    let (listener, address) = listen(arguments.listen).await?;
    let mut lines = Vec::new();
    for mount in world.mounts() {
        lines.push(format!("{}\thttp://{address}{}", mount.path.trim_start_matches('/'), mount.path));
    }
    output::data(&lines.join("\n"))?;
    output::say("serving; press Ctrl-C to stop");
    let stop = async {
        telemetry::stop_signal().await;
    };
    fhirvest_sandbox::serve(listener, Arc::new(world), options, stop)
        .await
        .map_err(|error| Failure::new(Exit::Storage, &error))?;
    Ok(Exit::Done)
}

fn sign_in(arguments: &Sandbox, consent: ConsentChoice) -> Result<SignIn, Failure> {
    let defaults = SignIn::default();
    let lifetime = |seconds: Option<u64>, default| seconds.map_or(default, Duration::from_secs);
    Ok(SignIn {
        client_secret: arguments.client_secret_env.as_deref().map(variable).transpose()?,
        consent: match consent {
            ConsentChoice::Asked => Consent::Asked,
            ConsentChoice::Given => Consent::Given,
        },
        access_lifetime: lifetime(arguments.token_lifetime, defaults.access_lifetime),
        code_lifetime: lifetime(arguments.code_lifetime, defaults.code_lifetime),
        refresh: !arguments.no_refresh,
        ..defaults
    })
}

fn backend(file: &Utf8Path) -> Result<BackendClient, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::io(file, &error))?;
    BackendClient::from_jwks(&text).map_err(|error| Failure::new(Exit::Usage, &error))
}

fn variable(name: &str) -> Result<String, Failure> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| Failure::usage(format!("the environment variable {name} is not set")))
}

pub(crate) async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |error| Failure::io(format!("{address} cannot be listened on"), &error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Signs in the members whose data a job asks of the sandbox, the same way as a person does, but for the page: the
/// sandbox asks nobody.
async fn members_sign_in(job: &Job, config: &OauthCode, sandbox: &run::Sandbox) -> Result<(), Failure> {
    let Some(path) = job.source.sandbox_path() else { return Ok(()) };
    let base_url = sandbox.origin.join(path).map_err(|error| Failure::new(Exit::Usage, &error))?;
    let place = Place::of(job, base_url);
    let known = sandbox.tokens.read(&place.key).map_err(|error| Failure::new(Exit::Storage, &error))?;
    let named = job.members()?;
    let all = sandbox.members.get(path).filter(|_| named.is_empty() && known.is_empty());
    let wanted = named.into_iter().chain(all.cloned().unwrap_or_default());
    let is_known = |id: &String| known.iter().any(|stored| stored.patient.as_ref() == Some(id));
    let sign_in = SignInFlow::prepare(place, config, Arc::default()).await.map_err(run::RunError::from)?;
    for id in wanted.filter(|id| !is_known(id)) {
        let Some(loopback) = Loopback::at(None).await? else { return Ok(()) };
        let begun = sign_in.begin(loopback.redirect_uri.clone(), Some(&id));
        let visit = async { sign_in.visit(&begun).await.map_err(|error| Failure::from(run::RunError::from(error))) };
        let ((), answer) = tokio::try_join!(visit, loopback.answer())?;
        let kept = sign_in.finish(begun, &answer, &sandbox.tokens, Clock::System.now()).await;
        kept.map_err(run::RunError::from)?;
    }
    Ok(())
}

/// The sandbox that `fhirvest run` starts for jobs of the local environment. It stops when this is dropped.
pub(crate) struct Embedded {
    running: Vec<(fhirvest_jobs::config::SandboxConfig, run::Sandbox)>,
    _stop: Vec<oneshot::Sender<()>>,
}

impl Embedded {
    /// Starts a sandbox for each size and seed that the jobs ask for; none where no job wants one. Each has a key of
    /// its own, made now and kept in memory, so that local runs go the same way as real ones.
    pub(crate) async fn for_jobs(jobs: &[Job]) -> Result<Self, Failure> {
        let mut embedded = Self { running: Vec::new(), _stop: Vec::new() };
        for job in jobs.iter().filter(|job| job.source.sandbox_path().is_some()) {
            if embedded.of(job).is_some() {
                continue;
            }
            let config = job.settings.sandbox.clone();
            let (listener, address) = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
            let key = SecretString::from(format!("{:016x}", RandomState::new().build_hasher().finish()));
            let api_key = ApiKey { header: HEADER.to_owned(), value: key.expose_secret().to_owned() };
            let sign_in = SignIn { consent: Consent::Given, ..SignIn::default() };
            let options = Options { api_key: Some(api_key), sign_in: Some(sign_in), gzip: true, ..Options::default() };
            let world = Arc::new(World::synthetic(config.seed, config.size));
            let members = world.mounts().iter().map(|mount| (mount.path.clone(), mount.members().to_vec())).collect();
            let (stop, stopped) = oneshot::channel::<()>();
            tokio::spawn(async move {
                let stopped = async {
                    // The sender is dropped with the command: that is the signal.
                    let _ = stopped.await;
                };
                if let Err(error) = fhirvest_sandbox::serve(listener, world, options, stopped).await {
                    tracing::error!(%error, "the sandbox stopped");
                }
            });
            let origin = format!("http://{address}/");
            let origin = url::Url::parse(&origin).map_err(|error| Failure::new(Exit::Bug, &error))?;
            let tokens = Arc::new(TokenStore::memory());
            let sandbox = run::Sandbox { origin, header: HEADER.to_owned(), key, members, tokens };
            embedded.running.push((config, sandbox));
            embedded._stop.push(stop);
        }
        for job in jobs {
            if let (Some(sandbox), Auth::OauthCode(config)) = (embedded.of(job), &job.source.auth) {
                members_sign_in(job, config, sandbox).await?;
            }
        }
        Ok(embedded)
    }

    /// The sandbox of a job.
    pub(crate) fn of(&self, job: &Job) -> Option<&run::Sandbox> {
        self.running.iter().find(|(config, _)| *config == job.settings.sandbox).map(|(_, sandbox)| sandbox)
    }
}
