//! What `--listen` serves: whether the scheduler is alive, its numbers, and its page.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{Html, IntoResponse},
    routing::get,
};
use fhirvest_jobs::{
    clock::Clock,
    metrics::Metrics,
    schedule::{Board, page},
};
use tokio::{net::TcpListener, sync::watch};

/// The form of `/metrics`, by its official name.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
pub(super) struct Shown {
    pub(super) board: watch::Receiver<Board>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

/// Serves until the scheduler has stopped.
pub(super) async fn serve(listener: TcpListener, shown: Shown, mut stopped: watch::Receiver<bool>) {
    let routes = Router::new()
        .route("/", get(status))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(shown);
    let stop = async move {
        // A sender that is gone has stopped, too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the status page is no longer served");
    }
}

async fn status(State(shown): State<Shown>) -> Html<String> {
    Html(page(&shown.board.borrow()))
}

async fn healthz(State(shown): State<Shown>) -> (StatusCode, &'static str) {
    if shown.board.borrow().is_well(shown.clock.now()) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping, or hanging\n")
    }
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    shown.metrics.board(&shown.board.borrow());
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], shown.metrics.render())
}
