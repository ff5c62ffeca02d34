//! The scheduler's page: jobs, last runs, next times, coverage. One file, no scripts, nothing from elsewhere.

use maud::{Markup, html};

use super::{Board, JobOnBoard};
use crate::{
    report::{time, whole},
    run::Exit,
};

/// Seconds after which a browser loads the page again.
const AGAIN_AFTER: u32 = 30;

/// Renders the page.
#[must_use]
pub fn page(board: &Board) -> String {
    let body = html! {
        header {
            h1 { "fhirvest schedule" }
            p { "As of " (time(board.at)) ". " @if board.draining { strong { "Stopping." } } }
            @if let Some(problem) = &board.reload_problem {
                p.bad { "The jobs could not be read again; the old ones stay:" }
                pre { (problem) }
            }
        }
        main {
            div.scroll { table {
                thead { tr {
                    th { "job" } th { "schedule" } th { "next" } th { "state" } th { "last run" } th { "ended" }
                    th { "coverage" }
                } }
                tbody { @for job in &board.jobs { (row(job)) } }
            } }
        }
    };
    whole("fhirvest schedule", Some(AGAIN_AFTER), &body)
}

fn row(job: &JobOnBoard) -> Markup {
    html! { tr {
        th scope="row" { (job.job) }
        td { code { (job.schedule) } " " (job.timezone) }
        td {
            @match job.next { Some(next) => (time(next)), None => "–" }
            @if let Some(because) = &job.because { br; small { (because) } }
        }
        td {
            @match job.running_since { Some(since) => { "running since " (time(since)) } None => "waiting" }
            @if job.skipped > 0 { br; small { (job.skipped) " time(s) skipped while running" } }
        }
        @match &job.last {
            Some(last) => {
                td { (last.run) br; small { (time(last.started_at)) } }
                td class=(if last.exit == Exit::Done && job.failed.is_none() { "good" } else { "bad" }) {
                    (failed(job))
                    "exit " (last.exit.code())
                    @if last.exit != Exit::Done { br; small { (last.next_step) } }
                }
                td { @for (name, status, coverage) in &last.types {
                    div { (name) ": " (status) @if let Some(share) = coverage { " " (format!("{:.1} %", share * 100.0)) } }
                } }
            }
            None => { td { "–" } td.bad { (failed(job)) "–" } td { "–" } }
        }
    } }
}

/// A newer run that came to no report: only the log has the reason.
fn failed(job: &JobOnBoard) -> Markup {
    html! { @if let Some((at, exit)) = job.failed {
        "exit " (exit.code()) br; small { (time(at)) ": see the log; before it:" } br;
    } }
}
