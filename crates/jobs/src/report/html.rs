//! The page: one file, no scripts, nothing from elsewhere. Every number is a `data` element that names its place in the
//! JSON of the same report, so that a test can compare them all.

use chrono::{DateTime, Utc};
use fhirvest_crawler::ending::Status;
use maud::{DOCTYPE, Markup, PreEscaped, html as page};

use super::{Document, Quality, STYLE, chart};
use crate::run::{Exit, TableReport, TableState, Traffic};

/// Columns that have fewer nulls than this share, and no misfits, stand in the JSON only.
const NULLS_SHOWN: f64 = 0.05;

/// Renders the page.
#[must_use]
pub fn html(document: &Document) -> String {
    let run = &document.run;
    let body = page! {
        header { h1 { (run.run) } (headline(document)) (facts(document)) }
        main {
            (resources(document))
            (tables(document))
            (changes(document))
            (quality(&document.quality))
            @if let Some(traffic) = &run.traffic { (requests(traffic)) }
            (failures(document))
        }
        footer { p.soft {
            "Made by fhirvest " (document.fhirvest_version) " from the lake's ledger, archive and Parquet files."
        } }
    };
    whole(&format!("fhirvest: {}", run.run), None, &body)
}

/// A page of this program: one file with its look inside, loaded again every so many seconds where that is said.
pub(crate) fn whole(title: &str, again_after: Option<u32>, body: &Markup) -> String {
    page! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(seconds) = again_after { meta http-equiv="refresh" content=(seconds); }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
    .into_string()
}

/// A whole number and its place in the JSON.
fn number(path: &str, value: u64) -> Markup {
    page! { data data-path=(path) value=(value) { (grouped(value)) } }
}

/// A number with a fraction, shown with so many digits.
fn fraction(path: &str, value: f64, digits: usize) -> Markup {
    page! { data data-path=(path) value=(value) { (format!("{value:.digits$}")) } }
}

/// A share, shown in per cent.
fn percent(path: &str, value: f64) -> Markup {
    page! { data data-path=(path) data-unit="percent" value=(value) { (format!("{:.1} %", value * 100.0)) } }
}

/// Thousands apart, by a narrow space that does not break.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A moment, as every page shows it.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn headline(document: &Document) -> Markup {
    let run = &document.run;
    let (class, words) = match run.exit_code {
        Exit::Done => ("headline good", "Everything is complete and published."),
        Exit::Incomplete => ("headline bad", "Finished, but not complete: what was complete is published."),
        Exit::Refused => ("headline bad", "The server refuses."),
        Exit::Unavailable => ("headline bad", "The server could not be reached."),
        Exit::Later => ("headline bad", "The server asks to come back later."),
        Exit::Interrupted => ("headline bad", "Interrupted: the next run goes on from here."),
        Exit::Storage => ("headline bad", "The lake could not be used."),
        Exit::Usage => ("headline bad", "The configuration does not fit."),
        Exit::Bug => ("headline bad", "A bug."),
    };
    page! { div class=(class) {
        strong { (words) }
        p { "Exit code " (number("/run/exit_code", u64::from(run.exit_code.code()))) ". Next: " (run.next_step) }
    } }
}

fn facts(document: &Document) -> Markup {
    let run = &document.run;
    page! { dl.facts {
        div { dt { "API" } dd { (run.api.as_deref().unwrap_or(&run.source)) } }
        div { dt { "Environment" } dd { (run.environment) } }
        div { dt { "Base URL" } dd { (run.base_url) } }
        div { dt { "Began" } dd { (time(run.started_at)) } }
        div { dt { "Ended" } dd { (time(run.finished_at)) } }
        div { dt { "Seconds" } dd { (fraction("/run/seconds", run.seconds, 1)) } }
        @if run.resumed { div { dt { "Resumed" } dd { "yes: it had been interrupted" } } }
    } }
}

fn resources(document: &Document) -> Markup {
    page! {
        h2 { "Resource types" }
        div.scroll { table {
            thead { tr {
                th { "type" } th { "status" } th { "coverage" } th.n { "resources" } th.n { "server says" } th.n { "pages" }
                th.n { "duplicates" } th.n { "variants" } th.n { "quarantined" } th { "how" }
            } }
            tbody { @for (place, one) in document.run.resources.iter().enumerate() {
                @let path = |key: &str| format!("/run/resources/{place}/{key}");
                @let well = matches!(one.status, Status::Complete | Status::Empty | Status::Unsupported);
                tr {
                    th scope="row" { (one.resource_type) }
                    td class=(if well { "good" } else { "bad" }) { (one.status) }
                    td { @match one.coverage {
                        Some(coverage) => { (chart::share(coverage)) " " (percent(&path("coverage"), coverage)) }
                        None => span.soft { "no count" },
                    } }
                    td.n { (number(&path("counts/archived"), one.counts.archived)) }
                    td.n { @match one.server_total { Some(total) => (number(&path("server_total"), total)), None => "–" } }
                    td.n { (number(&path("pages"), one.pages)) }
                    td.n { (number(&path("counts/duplicates"), one.counts.duplicates)) }
                    td.n { (number(&path("counts/variants"), one.counts.variants)) }
                    td.n { (number(&path("counts/quarantined"), one.counts.quarantined)) }
                    td.why {
                        (one.strategy)
                        @if let Some(ended_by) = one.ended_by { ", " (ended_by) }
                        @if let Some(detail) = &one.detail { br; small { (detail) } }
                    }
                }
            } }
        } }
    }
}

fn tables(document: &Document) -> Markup {
    let history = &document.history;
    page! {
        h2 { "Tables" }
        @if document.run.tables.is_empty() { p.soft { "No table was made." } } @else {
            div.scroll { table {
                thead { tr {
                    th { "table" } th { "state" } th.n { "rows" } th.n { "before" } th { "last " (history.len()) " run(s)" }
                    th.n { "read" } th.n { "gave rows" } th.n { "left out" } th.n { "failed" } th { "why" }
                } }
                tbody { @for (place, table) in document.run.tables.iter().enumerate() {
                    @let path = |key: &str| format!("/run/tables/{place}/{key}");
                    @let past: Vec<Option<u64>> = history.iter().map(|run| run.rows.get(&table.table).copied()).collect();
                    tr {
                        th scope="row" { (table.table) }
                        td class=(if table.state == TableState::Published { "good" } else { "warn" }) { (state(table)) }
                        td.n { (number(&path("rows"), table.rows)) }
                        td.n { @match table.previous_rows { Some(rows) => (number(&path("previous_rows"), rows)), None => "–" } }
                        td { (chart::spark(&past)) }
                        td.n { (number(&path("resources"), table.resources)) }
                        td.n { (number(&path("flattened"), table.flattened)) }
                        td.n { (number(&path("filtered"), table.filtered)) }
                        td.n { (number(&path("failed"), table.failed)) }
                        td.why { (table.reason.as_deref().unwrap_or_default()) }
                    }
                } }
            } }
            details {
                summary { "Rows that analysts saw after each of the last " (history.len()) " run(s)" }
                div.scroll { table {
                    thead { tr { th { "table" } @for run in history { th.n { (run.started_at.format("%m-%d %H:%M")) } } } }
                    tbody { @for table in &document.run.tables { tr {
                        th scope="row" { (table.table) }
                        @for (place, run) in history.iter().enumerate() { td.n { @match run.rows.get(&table.table) {
                            Some(rows) => (number(&format!("/history/{place}/rows/{}", table.table), *rows)),
                            None => "–",
                        } } }
                    } } }
                } }
            }
        }
    }
}

fn state(table: &TableReport) -> &'static str {
    match table.state {
        TableState::Published => "published",
        TableState::Unchanged => "unchanged",
        TableState::History => "kept as history",
        TableState::Held => "held back",
        TableState::Skipped => "not made",
    }
}

/// What analysts see otherwise than before: the counts of the rows of `_changes`.
fn changes(document: &Document) -> Markup {
    let run = &document.run;
    let status = |name: &str| run.resources.iter().find(|one| one.resource_type == name).map(|one| one.status);
    let shown = |name: &str| run.changes.iter().any(|one| one.resource_type == name);
    let unseen: Vec<&str> =
        run.resources.iter().map(|one| one.resource_type.as_str()).filter(|name| !shown(name)).collect();
    page! {
        h2 { "Changes since the last snapshot" }
        @if run.changes.is_empty() {
            p { @match &run.archive_run {
                Some(archive) => { "None: what the server sent is that of " (archive) ", and was compared then." }
                None => "Analysts see what they saw before: no resource type of this run is shown.",
            } }
        } @else {
            div.scroll { table.narrow {
                thead { tr { th { "type" } th.n { "added" } th.n { "changed" } th.n { "removed" } } }
                tbody { @for (place, one) in run.changes.iter().enumerate() { tr {
                    @let path = |key: &str| format!("/run/changes/{place}/{key}");
                    th scope="row" { (one.resource_type) }
                    td.n { (number(&path("added"), one.added)) }
                    td.n { (number(&path("changed"), one.changed)) }
                    td.n { @if status(&one.resource_type) == Some(Status::Partial) { "cannot be told" }
                        @else { (number(&path("removed"), one.removed)) } }
                } } }
            } }
            p.soft {
                "Each is a row of " code { "_changes" } "; a type that was not there before is all added."
                @if !unseen.is_empty() { " Not shown, and so without changes: " (unseen.join(", ")) "." }
            }
        }
    }
}

fn quality(quality: &Quality) -> Markup {
    let shown = |one: &&super::ColumnQuality| one.rows > 0 && (one.null_share >= NULLS_SHOWN || one.cast_failures > 0);
    let columns = || quality.columns.iter().enumerate().filter(|(_, one)| shown(one));
    page! {
        h2 { "Data quality" }
        div.scroll { table.narrow {
            thead { tr { th { "what" } th.n { "looked at" } th.n { "found" } } }
            tbody {
                @for (place, one) in quality.npi.iter().enumerate() { tr {
                    th scope="row" { "invalid NPI in " (one.table) }
                    td.n { (number(&format!("/quality/npi/{place}/checked"), one.checked)) }
                    td.n { (number(&format!("/quality/npi/{place}/invalid"), one.invalid)) }
                } }
                @for (place, one) in quality.references.iter().enumerate() { tr {
                    th scope="row" { "dangling reference in " (one.table) "." wbr; (one.column) }
                    td.n { (number(&format!("/quality/references/{place}/checked"), one.checked)) }
                    td.n { (number(&format!("/quality/references/{place}/dangling"), one.dangling)) }
                } }
                @if let Some(roles) = &quality.roles {
                    @for (what, key, found) in [
                        ("role without location", "without_location", roles.without_location),
                        ("role without network", "without_network", roles.without_network),
                    ] { @if let Some(found) = found { tr {
                        th scope="row" { (what) }
                        td.n { (number("/quality/roles/roles", roles.roles)) }
                        td.n { (number(&format!("/quality/roles/{key}"), found)) }
                    } } }
                }
            }
        } }
        @if !quality.staleness.is_empty() {
            h2 { "Days since the records were last changed" }
            div.grid { @for (place, one) in quality.staleness.iter().enumerate() { figure {
                figcaption { (one.table) }
                (chart::bars(&one.buckets.iter().map(|one| (days(one.up_to_days), one.count)).collect::<Vec<_>>()))
                p { @for (bucket, age) in one.buckets.iter().enumerate() {
                    (days(age.up_to_days)) ": " (number(&format!("/quality/staleness/{place}/buckets/{bucket}/count"), age.count)) ", "
                } "not said: " (number(&format!("/quality/staleness/{place}/unknown"), one.unknown)) }
            } } }
        }
        h2 { "Columns with values missing" }
        @if columns().next().is_none() { p { "No column lacks a twentieth of its values." } } @else {
            details open[columns().count() <= 40] {
                summary { (columns().count()) " column(s) without a value in a twentieth of their rows or more, or with values that did not fit" }
                div.scroll { table {
                    thead { tr { th { "column" } th { "without a value" } th.n { "rows" } th.n { "nulls" } th.n { "did not fit" } } }
                    tbody { @for (place, one) in columns() {
                        @let path = |key: &str| format!("/quality/columns/{place}/{key}");
                        tr {
                            th scope="row" { (one.table) "." (one.column) }
                            td { (chart::share(one.null_share)) " " (percent(&path("null_share"), one.null_share)) }
                            td.n { (number(&path("rows"), one.rows)) }
                            td.n { (number(&path("nulls"), one.nulls)) }
                            td.n { (number(&path("cast_failures"), one.cast_failures)) }
                        }
                    } }
                } }
            }
        }
        @if !quality.from_archive.is_empty() {
            p.soft { "Analysts do not see these tables; they were made again from the archive to be looked at: "
                (quality.from_archive.join(", ")) "." }
        }
        @if !quality.not_looked_at.is_empty() {
            p { "Not looked at:" }
            ul { @for (table, reason) in &quality.not_looked_at { li { (table) ": " (reason) } } }
        }
    }
}

fn days(up_to: Option<i64>) -> String {
    up_to.map_or_else(|| "more".to_owned(), |days| format!("≤\u{a0}{days}"))
}

fn requests(traffic: &Traffic) -> Markup {
    let at = |key: &str| format!("/run/traffic/{key}");
    let bound = |up_to: Option<f64>| up_to.map_or_else(|| "more".to_owned(), |seconds| format!("≤{seconds}"));
    // Under a bar is little room.
    let label = |up_to: Option<f64>| up_to.map_or_else(|| "more".to_owned(), |seconds| seconds.to_string());
    page! {
        h2 { "Requests" }
        dl.facts {
            div { dt { "Attempts" } dd { (number(&at("attempts"), traffic.attempts)) } }
            div { dt { "Retries" } dd { (number(&at("retries"), traffic.retries)) } }
            div { dt { "Throttled (429, 503)" } dd { (number(&at("throttled"), traffic.throttled)) } }
            div { dt { "Seconds of waiting" } dd { (fraction(&at("waited_seconds"), traffic.waited_seconds, 1)) } }
            div { dt { "Most in one second" } dd {
                (number(&at("busiest_second"), traffic.busiest_second))
                @if traffic.limit_per_second > 0.0 { " " (chart::share(of_limit(traffic))) }
            } }
            div { dt { "Allowed a second" } dd {
                @if traffic.limit_per_second > 0.0 { (fraction(&at("limit_per_second"), traffic.limit_per_second, 1)) }
                @else { "no limit" }
            } }
            div { dt { "Burst" } dd { (number(&at("burst"), u64::from(traffic.burst))) } }
            div { dt { "Seconds of asking" } dd { (fraction(&at("active_seconds"), traffic.active_seconds, 1)) } }
            div { dt { "Bytes received" } dd { (number(&at("bytes"), traffic.bytes)) } }
            div { dt { "Slowest answer, seconds" } dd { (fraction(&at("slowest_seconds"), traffic.slowest_seconds, 3)) } }
        }
        @if !traffic.latency.is_empty() {
            div.grid { figure {
                figcaption { "Answers by the seconds that they took at most" }
                (chart::bars(&traffic.latency.iter().map(|one| (label(one.up_to_seconds), one.count)).collect::<Vec<_>>()))
                p { @for (place, one) in traffic.latency.iter().enumerate() {
                    (bound(one.up_to_seconds)) ": " (number(&at(&format!("latency/{place}/count")), one.count)) "; "
                } }
            } }
        }
        div.scroll { table {
            thead { tr { th { "asked for" } th { "answer" } th.n { "times" } th { "first" } th { "last" } } }
            tbody { @for (place, one) in traffic.answers.iter().enumerate() { tr {
                th scope="row" { (one.resource_type.as_deref().unwrap_or("other")) }
                td class=(if one.status.is_some_and(|code| code < 400) { "" } else { "bad" }) {
                    @match one.status {
                        Some(code) => (number(&at(&format!("answers/{place}/status")), u64::from(code))),
                        None => "no answer",
                    }
                }
                td.n { (number(&at(&format!("answers/{place}/count")), one.count)) }
                td { (time(one.first_at)) }
                td { (time(one.last_at)) }
            } } }
        } }
    }
}

/// The busiest second as a share of what the job allows in one: a burst, and the pace after it.
#[allow(clippy::cast_precision_loss, reason = "a length on a screen")]
fn of_limit(traffic: &Traffic) -> f64 {
    traffic.busiest_second as f64 / (traffic.limit_per_second + f64::from(traffic.burst)).max(1.0)
}

fn failures(document: &Document) -> Markup {
    let failures = &document.run.failures;
    page! { @if !failures.is_empty() {
        h2 { "Resources that could not be flattened" }
        div.scroll { table {
            thead { tr { th { "archive" } th.n { "line" } th { "table" } th { "why" } } }
            tbody { @for (place, one) in failures.iter().enumerate() { tr {
                th scope="row" { (one.resource_type) }
                td.n { (number(&format!("/run/failures/{place}/line"), one.line)) }
                td { (one.table.as_deref().unwrap_or("every table")) }
                td.why { (one.message) }
            } } }
        } }
    } }
}
