//! Listens on this machine's loopback interface for a browser that comes back from a sign-in (RFC 8252, section 7.3).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::Html,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use url::{Host, Url};

use crate::failure::Failure;

/// Where the browser comes back to when nothing is registered.
const PATH: &str = "/callback";

/// How long the page may take that tells the person to go back to the terminal.
const FAREWELL: Duration = Duration::from_secs(2);

const PAGE: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>fhirvest</title></head>\
    <body><p>That is all here. The terminal tells what came of it; this window can be closed.</p></body></html>";

/// A listener that waits for one browser.
pub(crate) struct Loopback {
    listener: TcpListener,
    /// Where the browser has to come back to.
    pub(crate) redirect_uri: Url,
}

struct Waiting {
    redirect_uri: Url,
    came: mpsc::Sender<Url>,
}

impl Loopback {
    /// Listens at the registered address, else at any free port; nothing where the registered address is not on this
    /// machine.
    pub(crate) async fn at(registered: Option<&Url>) -> Result<Option<Self>, Failure> {
        let (ip, port) = match registered {
            None => (Some([127, 0, 0, 1].into()), 0),
            Some(url) if url.scheme() == "http" => (loopback(url), url.port().unwrap_or(80)),
            Some(_) => (None, 0),
        };
        let Some(ip) = ip else { return Ok(None) };
        let address = SocketAddr::new(ip, port);
        let failed = |error| Failure::io(format!("{address} cannot be listened on for the sign-in"), &error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let free = || Url::parse(&format!("http://{address}{PATH}"));
        let redirect_uri = registered.cloned().map_or_else(free, Ok);
        let redirect_uri = redirect_uri.map_err(|error| Failure::new(fhirvest_jobs::run::Exit::Bug, &error))?;
        Ok(Some(Self { listener, redirect_uri }))
    }

    /// Waits for the browser; the address that it comes to.
    pub(crate) async fn answer(self) -> Result<Url, Failure> {
        let (came, mut coming) = mpsc::channel(1);
        let waiting = Arc::new(Waiting { redirect_uri: self.redirect_uri, came });
        let router = Router::new().fallback(handle).with_state(waiting);
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let server =
            tokio::spawn(async move { axum::serve(self.listener, router).with_graceful_shutdown(shutdown).await });
        let answer = coming.recv().await;
        // The page goes out before the listener closes.
        let _ = stop.send(());
        let _ = tokio::time::timeout(FAREWELL, server).await;
        answer.ok_or_else(|| Failure::usage("the listener for the sign-in ended early: try again"))
    }
}

async fn handle(State(waiting): State<Arc<Waiting>>, request: Request) -> Result<Html<&'static str>, StatusCode> {
    let uri = request.uri();
    let mut url = waiting.redirect_uri.clone();
    url.set_query(uri.query());
    // Whatever else knocks, such as a browser after the page's icon, is not the answer.
    if uri.path() != url.path() || !url.query_pairs().any(|(name, _)| name == "state") {
        return Err(StatusCode::NOT_FOUND);
    }
    // A second answer finds nobody waiting.
    let _ = waiting.came.try_send(url);
    Ok(Html(PAGE))
}

fn loopback(url: &Url) -> Option<std::net::IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) if ip.is_loopback() => Some(ip.into()),
        Host::Ipv6(ip) if ip.is_loopback() => Some(ip.into()),
        Host::Domain("localhost") => Some([127, 0, 0, 1].into()),
        _ => None,
    }
}
