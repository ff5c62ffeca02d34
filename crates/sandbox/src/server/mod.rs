//! The HTTP face: from a listener to answers.

pub(crate) mod answer;
pub(crate) mod auth;
pub(crate) mod backend;
mod bulk;
pub(crate) mod call;
mod in_process;
mod member;
pub(crate) mod route;
mod search;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::authorization::Authorization;
use crate::error::SandboxError;
use crate::faults::Behaviour;
use crate::options::Options;
use crate::search::SearchCache;
use crate::traffic::{Exchange, Traffic};
use crate::world::World;
use call::Call;

pub use in_process::{InProcess, InProcessAnswer};

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) world: Arc<World>,
    pub(crate) options: Options,
    pub(crate) behaviour: Behaviour,
    pub(crate) cache: SearchCache,
    pub(crate) tokens: auth::Tokens,
    pub(crate) statements: backend::Statements,
    pub(crate) authorization: Option<Authorization>,
    pub(crate) traffic: Arc<Traffic>,
    /// Turns true when the sandbox stops: whoever hangs on purpose lets go.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Serves a world until `shutdown` is ready, then finishes the answers in flight.
///
/// # Errors
/// When the listener fails, or the key of the sign-in cannot be made.
pub async fn serve(
    listener: TcpListener,
    world: Arc<World>,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), SandboxError> {
    let (stop, stopping) = watch::channel(false);
    let app = app(world, options, stopping)?;
    let router = Router::new().fallback(handle).with_state(Arc::new(app));
    let shutdown = async move {
        shutdown.await;
        // Nobody listening any more is fine: then nobody hangs either.
        let _ = stop.send(true);
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(|source| SandboxError::Serve { source })
}

fn app(world: Arc<World>, options: Options, stopping: watch::Receiver<bool>) -> Result<App, SandboxError> {
    Ok(App {
        behaviour: Behaviour::new(&options),
        traffic: options.traffic.clone().unwrap_or_default(),
        authorization: options.sign_in.clone().map(Authorization::new).transpose()?,
        world,
        options,
        cache: SearchCache::default(),
        tokens: auth::Tokens::default(),
        statements: backend::Statements::default(),
        stopping,
    })
}

async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(answer) => return answer.into_response(&app, false),
    };
    let number = app.traffic.arrived(exchange(&app, &call));
    let answer = route::answer(&app, &call);
    if let Some(delay) = answer.delay {
        silent(&app, delay).await;
    }
    tracing::debug!(method = %call.method, path = what(&call.path), status = answer.status.as_u16(), "answered");
    app.traffic.answered(number, answer.status.as_u16(), answer.body_len());
    answer.into_response(&app, call.accepts_gzip())
}

/// A path up to its resource type: what follows, and the query, may name a person.
fn what(path: &str) -> &str {
    let mut end = 0;
    for segment in path.split('/') {
        end += segment.len() + 1;
        if segment.starts_with(|first: char| first.is_ascii_uppercase()) {
            break;
        }
    }
    path.get(..end.saturating_sub(1)).unwrap_or(path)
}

/// Waits, unless the sandbox is stopped.
async fn silent(app: &App, delay: Duration) {
    let mut stopping = app.stopping.clone();
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

fn exchange(app: &App, call: &Call) -> Exchange {
    let key_header = app.options.api_key.as_ref().map(|key| key.header.as_str());
    let mut headers: Vec<String> = call.headers.keys().map(|name| name.as_str().to_owned()).collect();
    headers.sort_unstable();
    Exchange {
        at: Instant::now(),
        method: call.method.to_string(),
        host: call.host.clone(),
        target: call.target.clone(),
        authorization: call.headers.contains_key("authorization"),
        api_key: key_header.is_some_and(|header| call.headers.contains_key(header)),
        headers,
        prefer: call.header("prefer").map(str::to_owned),
        status: 0,
    }
}
