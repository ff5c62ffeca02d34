//! Log lines on standard error, and the signals that end a run.

use std::io;

use fhirvest_crawler::event::{Event, EventSink};
use fhirvest_jobs::schedule::Order;
use tokio::sync::{mpsc, watch};
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    arguments::{Global, LogFormat},
    output::{self, Talk},
    progress,
};

/// Starts logging. `RUST_LOG` overrides `-v` and `-q`.
pub(crate) fn start(global: &Global) {
    output::talk(Talk { quiet: global.quiet, json: global.log_format == LogFormat::Json });
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "info",
        (false, 1) => "fhirvest=debug,info",
        (false, _) => "fhirvest=trace,debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::env::var_os("NO_COLOR").is_none() && io::IsTerminal::is_terminal(&io::stderr());
    let lines = fmt().with_env_filter(filter).with_writer(progress::writer).with_ansi(colour).with_target(false);
    match global.log_format {
        LogFormat::Text => lines.without_time().compact().init(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).init(),
    }
}

/// What a scheduler is told by signals: SIGHUP reads the jobs again, SIGTERM and SIGINT stop it.
pub(crate) fn orders() -> mpsc::Receiver<Order> {
    let (orders, received) = mpsc::channel(1);
    #[cfg(unix)]
    if let Ok(mut hang_up) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        let orders = orders.clone();
        tokio::spawn(
            async move { while hang_up.recv().await.is_some() && orders.send(Order::Reload).await.is_ok() {} },
        );
    }
    tokio::spawn(async move {
        stop_signal().await;
        // Where nobody receives it, the scheduler has stopped already.
        let _ = orders.send(Order::Stop).await;
    });
    received
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = interrupt => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    let _ = interrupt.await;
}

/// Sets `cancel` at the first signal: the run ends after the page in flight, with a clean commit.
pub(crate) fn cancel_on_signal(cancel: watch::Sender<bool>) {
    tokio::spawn(async move {
        stop_signal().await;
        tracing::warn!("stopping after the page in flight; run the same command again to go on from there");
        let _ = cancel.send(true);
        // Kept until the program ends: a dropped sender would look like a signal.
        std::future::pending::<()>().await;
    });
}

/// Events as log lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogEvents;

impl EventSink for LogEvents {
    fn event(&self, event: &Event) {
        match event {
            Event::Attempt { url, status, took, bytes, error } => {
                let took = format!("{took:.1?}");
                tracing::trace!(url, status, took, bytes, error, "request");
            }
            Event::Waiting { url, delay, reason, retry } => {
                let delay = format!("{delay:.1?}");
                tracing::warn!(url, delay, reason, retry, "waiting before another attempt");
            }
            Event::PageCommitted { resource_type, partition, counts, server_total } => {
                tracing::debug!("type" = resource_type, partition, new = counts.archived, server_total, "page");
            }
            Event::PartitionEnded { partition, ended_by } => {
                tracing::debug!(partition, %ended_by, "partition ended");
            }
            Event::TypeEnded { resource_type, status, unique } => {
                tracing::info!("type" = resource_type, %status, resources = unique, "type ended");
            }
            // Events of a newer crawler say nothing to this log.
            _ => {}
        }
    }
}
