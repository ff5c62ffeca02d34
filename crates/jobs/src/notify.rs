//! Telling somebody how a run ended: a program, a web address, or both. What goes wrong here is logged and changes
//! nothing about the run.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fhirvest_crawler::webhook::{self, WebhookError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{
    config::{Job, NotifyConfig, NotifyWhen, SecretError, WebhookConfig},
    run::{Exit, RunError, RunReport},
};

/// Somebody was not told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The program cannot be started.
    #[error("the program {program:?} cannot be started")]
    Start {
        /// The program, without its arguments.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The program failed.
    #[error("the program {program:?} ended with {status}")]
    Failed {
        /// The program, without its arguments.
        program: String,
        /// How it ended.
        status: String,
    },
    /// The program did not end in time, and was ended.
    #[error("the program {program:?} took longer than {limit:?}")]
    TooLong {
        /// The program, without its arguments.
        program: String,
        /// What it may take.
        limit: Duration,
    },
    /// The web address did not take it.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The address or its token cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The secret is no address.
    #[error("`secret_url` does not lead to an http or https address")]
    NoAddress,
}

/// What is told of a run: its report, or, where it came to none, why.
#[must_use]
pub fn message(job: &Job, ended: &Result<RunReport, RunError>) -> (Exit, String, Option<String>) {
    match ended {
        Ok(report) => {
            let text = serde_json::to_string(report).unwrap_or_default();
            (report.exit_code, text, Some(report.run.clone()))
        }
        Err(error) => {
            let exit = error.exit();
            (exit, json!({ "job": job.name, "exit_code": exit, "error": error.to_string() }).to_string(), None)
        }
    }
}

/// Tells everybody whom the job names how its run ended; gives what went wrong with that.
pub async fn notify(job: &Job, ended: &Result<RunReport, RunError>) -> Vec<NotifyError> {
    let NotifyConfig { when, command, webhook, timeout } = &job.settings.notify;
    let (exit, text, run) = message(job, ended);
    if *when == NotifyWhen::Problem && exit == Exit::Done {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    if let Some((program, arguments)) = command.split_first() {
        let mut command = Command::new(program);
        command.args(arguments).env("FHIRVEST_JOB", &job.name).env("FHIRVEST_EXIT_CODE", exit.code().to_string());
        command.env("FHIRVEST_RUN", run.as_deref().unwrap_or_default());
        wrong.extend(call(program, command, text.clone(), timeout.0).await.err());
    }
    if let Some(webhook) = webhook {
        wrong.extend(post(webhook, text, timeout.0).await.err());
    }
    wrong
}

async fn post(config: &WebhookConfig, text: String, timeout: Duration) -> Result<(), NotifyError> {
    let url = match (&config.url, &config.secret_url) {
        (Some(url), _) => url.clone(),
        (None, Some(secret)) => secret.resolve()?.expose_secret().trim().parse().map_err(|_| NotifyError::NoAddress)?,
        (None, None) => return Err(NotifyError::NoAddress),
    };
    let token: Option<SecretString> = config.token.as_ref().map(crate::config::SecretRef::resolve).transpose()?;
    Ok(webhook::post(&url, token.as_ref(), text, timeout).await?)
}

/// Between two looks whether the program has ended.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

async fn call(program: &str, mut command: Command, text: String, limit: Duration) -> Result<(), NotifyError> {
    let program = program.to_owned();
    // Standard output belongs to the data of this program.
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
    let mut child = child.map_err(|source| NotifyError::Start { program: program.clone(), source })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read would block this one; its end frees the thread.
        tokio::task::spawn_blocking(move || stdin.write_all(text.as_bytes()));
    }
    match tokio::time::timeout(limit, end_of(&mut child)).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(NotifyError::Failed { program, status: status.to_string() }),
        Ok(Err(source)) => Err(NotifyError::Start { program, source }),
        Err(_) => {
            // It is ended already, or has to end now; the look after it takes its remains away.
            let _ = child.kill();
            let _ = child.wait();
            Err(NotifyError::TooLong { program, limit })
        }
    }
}

async fn end_of(child: &mut Child) -> std::io::Result<std::process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn called(script: &str, text: &str, limit: Duration) -> Result<(), NotifyError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        call("sh", command, text.to_owned(), limit).await
    }

    #[tokio::test]
    async fn a_program_gets_the_text_and_a_bad_or_slow_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("got");
        let minute = Duration::from_secs(60);
        called(&format!("cat > {}", path.display()), "{\"run\":1}", minute).await.unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"run\":1}");
        let told = |error: NotifyError| error.to_string();
        assert!(told(called("exit 3", "", minute).await.unwrap_err()).contains("exit status: 3"));
        // More than a pipe holds, to somebody who does not read.
        let large = "x".repeat(1 << 20);
        let slow = called("exec sleep 600", &large, Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(slow, NotifyError::TooLong { .. }), "{slow}");
        let none = call("no-such-program", Command::new("no-such-program"), String::new(), minute).await.unwrap_err();
        assert!(matches!(none, NotifyError::Start { .. }), "{none}");
    }
}
