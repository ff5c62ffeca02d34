//! `fhirvest login` and `fhirvest logout`.

use std::{sync::Arc, time::Duration};

use fhirvest_jobs::{
    clock::Clock,
    config::{Auth, OauthCode, Settings, Source},
    run::{Exit, RunError},
    sign_in::{self, Begun, Place, SignIn, SignInError, TokenStore},
};
use url::Url;

use crate::{
    arguments::{Global, Login, Logout},
    failure::Failure,
    loopback::Loopback,
    output,
};

/// Whom a person signs in to, and how.
struct Target {
    place: Place,
    config: OauthCode,
    settings: Settings,
    /// What to run afterwards.
    job: Option<String>,
}

pub(crate) async fn login(global: &Global, arguments: &Login) -> Result<Exit, Failure> {
    let target = target(global, &arguments.name, arguments.environment.as_deref())?;
    let store = TokenStore::open(&target.settings.sign_in).map_err(SignInError::from).map_err(RunError::from)?;
    let (login, key) = (target.place.login.clone(), target.place.key.clone());
    let sign_in = SignIn::prepare(target.place, &target.config, Arc::default()).await.map_err(RunError::from)?;
    let registered = sign_in.registered_redirect().cloned();
    let loopback = Loopback::at(registered.as_ref()).await?;
    let redirect_uri = match (&loopback, registered) {
        (Some(loopback), _) => loopback.redirect_uri.clone(),
        (None, Some(elsewhere)) => elsewhere,
        (None, None) => return Err(Failure::usage("there is no address for the browser to come back to")),
    };
    let begun = sign_in.begin(redirect_uri, arguments.hint.as_deref());
    show(&begun, arguments.no_browser)?;
    let coming = async {
        match loopback {
            Some(loopback) => loopback.answer().await,
            None => pasted().await,
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(arguments.timeout), coming).await;
    let answer = answer.map_err(|_| {
        let seconds = arguments.timeout;
        Failure::refused(format!(
            "nobody came back from the sign-in within {seconds} s: begin again, with a longer --timeout"
        ))
    })??;
    let stored = sign_in.finish(begun, &answer, &store, Clock::System.now()).await.map_err(RunError::from)?;
    let until = match (stored.is_renewable(), stored.ends) {
        (true, _) => "is renewed without you".to_owned(),
        (false, Some(ends)) => format!("lasts until {}", ends.format("%Y-%m-%dT%H:%M:%SZ")),
        (false, None) => "lasts as long as the server likes".to_owned(),
    };
    output::say(&format!("signed in to {login}: the token {until}; kept in {}", store.shown(&key)));
    let next = target
        .job
        .map_or_else(|| "fhirvest run with a job of this API".to_owned(), |job| format!("fhirvest run {job}"));
    output::say(&format!("next: {next}"));
    Ok(Exit::Done)
}

pub(crate) async fn logout(global: &Global, arguments: &Logout) -> Result<Exit, Failure> {
    let target = target(global, &arguments.name, arguments.environment.as_deref())?;
    let store = TokenStore::open(&target.settings.sign_in).map_err(SignInError::from).map_err(RunError::from)?;
    let now = Clock::System.now();
    let done = sign_in::sign_out(&target.place, &target.config, &store, Arc::default(), now).await;
    let told = match done.map_err(RunError::from)? {
        (0, _) => "nobody was signed in".to_owned(),
        (members, true) => format!("signed out {members}: the server took the tokens back, and they are forgotten"),
        (members, false) => {
            format!("signed out {members}: the tokens are forgotten; the server lets them end by themselves")
        }
    };
    output::say(&told);
    Ok(Exit::Done)
}

/// The API of the catalogue or the job that a name stands for.
fn target(global: &Global, name: &str, environment: Option<&str>) -> Result<Target, Failure> {
    let flags = environment.map(|name| ("environment".to_owned(), name.to_owned())).into_iter().collect();
    let loader = super::loader(global, flags);
    let (source, settings, job) = if name.contains('/') {
        let settings = loader.settings(name)?;
        (loader.api(name, &settings.environment)?, settings, None)
    } else {
        let found = loader.jobs(std::slice::from_ref(&name.to_owned()))?.pop();
        let job = found.ok_or_else(|| Failure::usage(format!("there is no job `{name}`")))?;
        (job.source, job.settings, Some(job.name))
    };
    let config = code(name, &source)?;
    let base_url = Url::parse(&source.base_url).map_err(|error| Failure::new(Exit::Usage, &error))?;
    let place = Place::new(name, &source, &settings, base_url);
    Ok(Target { place, config, settings, job })
}

fn code(name: &str, source: &Source) -> Result<OauthCode, Failure> {
    match &source.auth {
        Auth::OauthCode(_) if source.sandbox_path().is_some() => Err(Failure::usage(format!(
            "{name} is played by the built-in sandbox here, whose members sign in by themselves: name the publisher's \
             with --environment"
        ))),
        Auth::OauthCode(config) => Ok(config.clone()),
        other => Err(Failure::usage(format!("{name} authorizes by {}: nobody signs in to it", other.kind()))),
    }
}

/// Sends the person off: by the system's browser, or with the address alone on standard output.
fn show(begun: &Begun, no_browser: bool) -> Result<(), Failure> {
    if no_browser {
        return output::data(begun.url.as_str());
    }
    output::say("opening the browser to sign in; if none opens, go to");
    output::say(begun.url.as_str());
    if let Err(error) = open::that_detached(begun.url.as_str()) {
        tracing::warn!(%error, "no browser can be opened");
    }
    Ok(())
}

/// The address that the browser came to, where that is not on this machine: pasted by the person.
async fn pasted() -> Result<Url, Failure> {
    output::say("after signing in, paste the address that the browser came to, and press Enter:");
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(|error| Failure::new(Exit::Bug, &error))?;
    let line = line.map_err(|error| Failure::io("standard input", &error))?;
    Url::parse(line.trim()).map_err(|_| Failure::usage("that is no address: begin again"))
}
