//! Log lines on standard error, and the signals that end a run.

use std::io;

use tokio::sync::watch;
use tracing_subscriber::{EnvFilter, fmt};

use crate::arguments::{Global, LogFormat};

/// Starts logging. `RUST_LOG` overrides `-v` and `-q`.
pub(crate) fn start(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "info",
        (false, 1) => "fhirvest=debug,info",
        (false, _) => "fhirvest=trace,debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::env::var_os("NO_COLOR").is_none() && io::IsTerminal::is_terminal(&io::stderr());
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour).with_target(false);
    match global.log_format {
        LogFormat::Text => lines.without_time().compact().init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
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
