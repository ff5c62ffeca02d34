//! What a server does, found out with few requests and believed only against a control: whether a type can be searched,
//! counted and sorted, how large its pages get, what its next links look like, whether `_lastUpdated` is heeded, whether
//! a total looks like a ceiling, and which strategy fits.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::{
    engine::ResourcePlan,
    paging,
    retry::{FetchError, Fetched, Retrying},
    source::Source,
    strategy::IMPOSSIBLE,
    suspicion::{self, Order},
    transport::{Request, Transport},
};

/// A page size that no server minds to be asked for, and many cut.
const LARGE_PAGE: u32 = 1_000;

/// Parameters by which servers page besides their links, tried where there are none.
const OFFSETS: [&str; 4] = ["_offset", "_skip", "_getpagesoffset", "page"];

/// Of a CapabilityStatement.
const LONGEST_METADATA: usize = 32 << 20;

/// What a server says of itself. Advice, not truth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFindings {
    /// Its software, as its CapabilityStatement names it.
    pub software: Option<String>,
    /// `fhirVersion`.
    pub fhir_version: Option<String>,
    /// The resource types that it says it serves; none where it has no CapabilityStatement.
    pub types: BTreeSet<String>,
    /// The platform of `config/platforms` that its software belongs to, if that shows.
    pub platform: Option<String>,
    /// Why there is no CapabilityStatement.
    pub problem: Option<String>,
}

/// What a server does with one type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeFindings {
    /// The type.
    pub resource_type: String,
    /// Whether a search without a filter is answered.
    pub searchable: bool,
    /// Why not.
    pub problem: Option<String>,
    /// The server's count, by `_summary=count` or on the page.
    pub total: Option<u64>,
    /// Whether `_summary=count` is answered with a number.
    pub count_supported: bool,
    /// Matches on a page that was asked to hold 1,000; none where there are fewer than that.
    pub page_ceiling: Option<u64>,
    /// Whether a large `_count` is answered with nothing.
    pub large_page_empty: bool,
    /// The shape of the next link: `absolute`, `relative`, `other-origin`, `none`, `last-page`; `dead` where it leads to
    /// no other page.
    pub next_link: String,
    /// Whether `_lastUpdated` filters: the impossible finds nothing, and ever since 1900 something.
    pub last_updated_honoured: bool,
    /// Whether every resource has a stamp that `_lastUpdated` finds.
    pub all_stamped: Option<bool>,
    /// Whether `_sort=_id` sorts.
    pub sort_honoured: bool,
    /// Whether a parameter that does not exist is ignored in silence.
    pub ignores_unknown: bool,
    /// The total looks like a ceiling, or a search ends before it.
    pub cap_suspected: bool,
    /// A parameter that pages without links.
    pub offset: Option<String>,
    /// Requests that it took.
    pub requests: u32,
}

/// Asks a server about itself.
///
/// # Errors
/// The server cannot be reached, asks to come back later, or the crawl was stopped.
pub async fn server<T: Transport>(fetcher: &Retrying<T>, source: &Source) -> Result<ServerFindings, FetchError> {
    let Ok(url) = source.absolute("metadata") else { return Ok(ServerFindings::default()) };
    let body = match fetcher.open(&Request::new(url)).await {
        Ok(incoming) => crate::retry::beginning(incoming, LONGEST_METADATA).await,
        Err(FetchError::Refused(refusal)) => {
            return Ok(ServerFindings { problem: Some(refusal.message), ..ServerFindings::default() });
        }
        Err(FetchError::Unavailable { answered: true, reason, .. }) => {
            return Ok(ServerFindings { problem: Some(reason), ..ServerFindings::default() });
        }
        Err(error) => return Err(error),
    };
    Ok(capability(&body))
}

fn capability(body: &[u8]) -> ServerFindings {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return ServerFindings { problem: Some("/metadata is not JSON".into()), ..ServerFindings::default() };
    };
    if body["resourceType"] != "CapabilityStatement" {
        let problem = Some("/metadata is no CapabilityStatement".into());
        return ServerFindings { problem, ..ServerFindings::default() };
    }
    let name = body["software"]["name"].as_str().map(str::to_owned);
    let text = name.clone().unwrap_or_default().to_lowercase();
    let known = [
        ("smile", "smile"),
        ("hapi", "hapi"),
        ("firely", "firely"),
        ("vonk", "firely"),
        ("azure", "azure"),
        ("microsoft", "azure"),
        ("aidbox", "aidbox"),
        ("intersystems", "intersystems"),
        ("1uphealth", "1uphealth"),
    ];
    let types = body["rest"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|rest| rest["resource"].as_array().into_iter().flatten());
    ServerFindings {
        platform: known.iter().find(|(part, _)| text.contains(part)).map(|(_, platform)| (*platform).to_owned()),
        software: name.map(|name| match body["software"]["version"].as_str() {
            Some(version) => format!("{name} {version}"),
            None => name,
        }),
        fhir_version: body["fhirVersion"].as_str().map(str::to_owned),
        types: types.filter_map(|one| one["type"].as_str()).map(str::to_owned).collect(),
        problem: None,
    }
}

/// Asks a server about one type: up to a dozen small requests.
///
/// # Errors
/// The server cannot be reached, asks to come back later, or the crawl was stopped.
pub async fn resource<T: Transport>(
    fetcher: &Retrying<T>,
    source: &Source,
    plan: &ResourcePlan,
) -> Result<TypeFindings, FetchError> {
    let mut probe = Probe { fetcher, source, plan, requests: 0 };
    let mut found = TypeFindings { resource_type: plan.resource_type.clone(), ..TypeFindings::default() };
    let first = match probe.ask(&[("_count", "2")]).await? {
        Ok(page) => page,
        Err(problem) => {
            // Some servers refuse only what has no filter.
            let filtered = probe.ask(&[("_count", "2"), ("_lastUpdated", "ge1900-01-01")]).await?;
            found.problem = Some(problem);
            // A server that finds everything too much answers a window that holds nothing, if it heeds windows.
            let narrow = probe.ask(&[("_count", "2"), ("_lastUpdated", "lt1900-01-01")]).await?;
            found.last_updated_honoured = filtered.is_ok_and(|page| probe.matches(&page) > 0)
                || narrow.is_ok_and(|page| probe.matches(&page) == 0);
            found.requests = probe.requests;
            return Ok(found);
        }
    };
    found.searchable = true;
    found.next_link = next_link(source, &first);
    if probe.is_dead_end(&first).await? {
        found.next_link = "dead".into();
    }
    let counted = probe.ask(&[("_summary", "count")]).await?;
    found.count_supported = counted.as_ref().is_ok_and(|page| page.page.total.is_some());
    found.total = counted.ok().and_then(|page| page.page.total).or(first.page.total);
    found.cap_suspected = found.total.is_some_and(suspicion::is_ceiling);
    let large = probe.ask(&[("_count", &LARGE_PAGE.to_string())]).await?;
    let held = large.as_ref().map_or(0, |page| probe.matches(page));
    found.large_page_empty = held == 0 && probe.matches(&first) > 0;
    let more = large.as_ref().is_ok_and(|page| page.page.link("next").is_some())
        || found.total.is_some_and(|total| total > held);
    found.page_ceiling = (held > 0 && more).then_some(held);
    // A server that has links, and none on a large page though there is more, ends its searches there.
    let ends_early = large.as_ref().is_ok_and(|page| page.page.link("next").is_none()) && found.page_ceiling.is_some();
    found.cap_suspected |= ends_early && ["absolute", "relative"].contains(&&*found.next_link);
    let never = probe.ask(&[("_lastUpdated", "lt1900-01-01"), ("_count", "2")]).await?;
    let ever = probe.ask(&[("_lastUpdated", "ge1900-01-01"), ("_count", "2")]).await?;
    found.last_updated_honoured =
        never.is_ok_and(|page| probe.matches(&page) == 0) && ever.as_ref().is_ok_and(|page| probe.matches(page) > 0);
    let stamped = ever.ok().and_then(|page| page.page.total);
    found.all_stamped = found.total.zip(stamped).filter(|_| found.last_updated_honoured).map(|(all, some)| all == some);
    if ["absolute", "relative"].contains(&&*found.next_link) {
        found.cap_suspected |= probe.is_end_out_of_reach(&first, found.total).await?;
    }
    // Windows of time bring everything there, ceiling or not.
    found.cap_suspected |= found.last_updated_honoured && found.total.is_some_and(suspicion::is_known_ceiling);
    found.sort_honoured = probe.sorts().await?;
    let unknown = probe.ask(&[("fhirvest-no-such-parameter", IMPOSSIBLE), ("_count", "2")]).await?;
    found.ignores_unknown = unknown.is_ok_and(|page| probe.matches(&page) > 0);
    if ["none", "dead", "other-origin"].contains(&&*found.next_link) {
        found.offset = probe.offset().await?;
    }
    found.requests = probe.requests;
    Ok(found)
}

/// Whether a type can be asked only for what has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeFindings {
    /// Whether `_lastUpdated` filters: what lies before 1900 finds nothing, and what comes after it something.
    pub honoured: bool,
    /// Whether every resource has a stamp that `_lastUpdated` finds, by the server's counts.
    pub all_stamped: Option<bool>,
    /// The server's count of the whole type.
    pub total: Option<u64>,
    /// The server's time before anything was asked for; none where it doesn't tell it.
    pub server_time: Option<DateTime<Utc>>,
}

/// Finds out with three requests whether a type can be asked only for what has changed since a time. The plan's own
/// parameters are part of each question.
///
/// # Errors
/// The server cannot be reached, asks to come back later, or the crawl was stopped.
pub async fn changes<T: Transport>(
    fetcher: &Retrying<T>,
    source: &Source,
    plan: &ResourcePlan,
) -> Result<ChangeFindings, FetchError> {
    let mut probe = Probe { fetcher, source, plan, requests: 0 };
    let never = probe.ask(&[("_lastUpdated", "lt1900-01-01"), ("_count", "2")]).await?;
    let ever = probe.ask(&[("_lastUpdated", "ge1900-01-01"), ("_count", "2")]).await?;
    let counted = probe.ask(&[("_summary", "count")]).await?;
    let server_time = never.as_ref().ok().and_then(|page| page.date);
    let honoured =
        never.is_ok_and(|page| probe.matches(&page) == 0) && ever.as_ref().is_ok_and(|page| probe.matches(page) > 0);
    let stamped = ever.ok().and_then(|page| page.page.total);
    let total = counted.ok().and_then(|page| page.page.total).filter(|total| !suspicion::is_ceiling(*total));
    let all_stamped = total.zip(stamped).filter(|_| honoured).map(|(all, some)| all == some);
    Ok(ChangeFindings { honoured, all_stamped, total, server_time })
}

/// Which generation of the US Drug Formulary guide a server follows: `stu2` where it has formulary items, `stu1` where it
/// has coverage plans as lists; nothing where neither is found. Codes only, since the URLs of the code systems drift, and
/// each against a code that does not exist.
///
/// # Errors
/// The server cannot be reached, asks to come back later, or the crawl was stopped.
pub async fn formulary_generation<T: Transport>(
    fetcher: &Retrying<T>,
    source: &Source,
) -> Result<Option<&'static str>, FetchError> {
    for (generation, resource_type, code) in [("stu2", "Basic", "formulary-item"), ("stu1", "List", "DRUGPOL")] {
        let plan = ResourcePlan::new(resource_type);
        let mut probe = Probe { fetcher, source, plan: &plan, requests: 0 };
        let found = probe.ask(&[("code", code), ("_count", "2")]).await?;
        let control = probe.ask(&[("code", IMPOSSIBLE), ("_count", "2")]).await?;
        let finds = found.is_ok_and(|page| probe.matches(&page) > 0);
        if finds && control.is_ok_and(|page| probe.matches(&page) == 0) {
            return Ok(Some(generation));
        }
    }
    Ok(None)
}

struct Probe<'a, T> {
    fetcher: &'a Retrying<T>,
    source: &'a Source,
    plan: &'a ResourcePlan,
    requests: u32,
}

impl<T: Transport> Probe<'_, T> {
    /// Whether the next link of a page leads to no other page: it is refused, or brings the same again.
    async fn is_dead_end(&mut self, page: &Fetched) -> Result<bool, FetchError> {
        let link = page.page.link("next").map(str::trim).filter(|link| !link.is_empty());
        let Some(url) = link.and_then(|link| paging::resolve(self.source, link, &page.url)) else { return Ok(false) };
        let known = suspicion::ids(&page.page, &self.plan.resource_type);
        let next = self.get(&url).await?;
        Ok(next.map_or(true, |next| {
            let ids = suspicion::ids(&next.page, &self.plan.resource_type);
            !ids.is_empty() && ids.iter().all(|id| known.contains(id))
        }))
    }

    /// Whether the links count up to a page that the server refuses, or that is empty, before the end that its count says.
    async fn is_end_out_of_reach(&mut self, page: &Fetched, total: Option<u64>) -> Result<bool, FetchError> {
        let link = page.page.link("next").and_then(|link| paging::resolve(self.source, link, &page.url));
        let (Some(mut url), Some(total)) = (link, total) else { return Ok(false) };
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let counts_up =
            |(name, value): &&(String, String)| OFFSETS.contains(&name.as_str()) && value.parse::<u64>().is_ok();
        let Some((param, _)) = pairs.iter().find(counts_up) else { return Ok(false) };
        // Pages of two, as the first was asked for.
        let last = if param == "page" { total.div_ceil(2) } else { total.saturating_sub(2) };
        let changed = pairs.iter().map(|(name, value)| match name == param {
            true => (name.clone(), last.to_string()),
            false => (name.clone(), value.clone()),
        });
        url.query_pairs_mut().clear().extend_pairs(changed);
        Ok(self.get(&url).await?.map_or(true, |page| self.matches(&page) == 0))
    }

    /// A page, or why there is none.
    async fn ask(&mut self, changed: &[(&str, &str)]) -> Result<Result<Fetched, String>, FetchError> {
        let base = crate::engine::search_of(self.plan);
        let Ok(url) = self.source.absolute(&suspicion::with(&base, changed)) else {
            return Ok(Err("the base URL is no address".into()));
        };
        self.get(&url).await
    }

    async fn get(&mut self, url: &Url) -> Result<Result<Fetched, String>, FetchError> {
        self.requests += 1;
        match self.fetcher.page_within(url, 1).await {
            Ok(page) => Ok(Ok(page)),
            Err(FetchError::Refused(refusal)) => Ok(Err(refusal.message)),
            Err(FetchError::Unavailable { reason, answered: true, .. }) => Ok(Err(reason)),
            Err(error) => Err(error),
        }
    }

    fn matches(&self, page: &Fetched) -> u64 {
        suspicion::ids(&page.page, &self.plan.resource_type).len() as u64
    }

    async fn sorts(&mut self) -> Result<bool, FetchError> {
        let mut ends = Vec::new();
        for (sort, order) in [("_id", Order::Ascending), ("-_id", Order::Descending)] {
            let Ok(page) = self.ask(&[("_sort", sort), ("_count", "20")]).await? else { return Ok(false) };
            let ids: Vec<String> =
                suspicion::ids(&page.page, &self.plan.resource_type).into_iter().map(str::to_owned).collect();
            if !suspicion::is_in_order(&ids.iter().map(String::as_str).collect::<Vec<_>>(), order) {
                return Ok(false);
            }
            ends.push(ids);
        }
        Ok(ends[0] != ends[1])
    }

    /// The first parameter that gives another page than the first.
    async fn offset(&mut self) -> Result<Option<String>, FetchError> {
        // In the same order: a server may give another first page each time without one.
        let known = names_of(self.ask(&[("_count", "2"), ("_sort", "_id")]).await?, &self.plan.resource_type);
        for param in OFFSETS {
            let there =
                names_of(self.ask(&[("_count", "2"), ("_sort", "_id"), (param, "2")]).await?, &self.plan.resource_type);
            if !known.is_empty() && !there.is_empty() && there.iter().all(|id| !known.contains(id)) {
                return Ok(Some(param.to_owned()));
            }
        }
        Ok(None)
    }
}

fn names_of(page: Result<Fetched, String>, resource_type: &str) -> Vec<String> {
    let Ok(page) = page else { return Vec::new() };
    suspicion::ids(&page.page, resource_type).into_iter().map(str::to_owned).collect()
}

fn next_link(source: &Source, page: &Fetched) -> String {
    let Some(link) = page.page.link("next").map(str::trim).filter(|link| !link.is_empty()) else {
        let more = page.page.total.is_some_and(|total| total > page.page.entry_slots as u64);
        return if more || page.page.entry_slots >= 2 { "none" } else { "last-page" }.into();
    };
    match (paging::resolve(source, link, &page.url), Url::parse(link)) {
        (None, _) => "other-origin",
        (Some(_), Ok(_)) => "absolute",
        (Some(_), Err(_)) => "relative",
    }
    .into()
}

impl TypeFindings {
    /// The strategy that fits, as lines under `[resources.<Type>]`, with why.
    #[must_use]
    pub fn suggestion(&self) -> (String, String) {
        let mut lines = Vec::new();
        let size = match self.page_ceiling {
            _ if self.large_page_empty => 100,
            Some(ceiling) => ceiling.min(u64::from(LARGE_PAGE)),
            None => u64::from(LARGE_PAGE),
        };
        let sorted = if self.sort_honoured { "params = { _sort = \"_id\" }" } else { "" };
        let not_served =
            |problem: &String| ["HTTP 404", "HTTP 405", "HTTP 501"].iter().any(|one| problem.starts_with(one));
        if !self.last_updated_honoured && self.problem.as_ref().is_some_and(not_served) {
            let line = format!("# leave [resources.{}] out of the job", self.resource_type);
            return (line, "the server does not serve this type".into());
        }
        let why = if !self.searchable && !self.last_updated_honoured {
            lines.push("strategy = \"id-read\"".to_owned());
            "no search is answered: only what other types refer to can be read"
        } else if !self.searchable || self.cap_suspected {
            if self.last_updated_honoured {
                let bucket = match (self.total.filter(|_| self.cap_suspected), self.page_ceiling) {
                    (Some(total), _) if suspicion::is_known_ceiling(total) => total.clamp(100, 10_000) / 2,
                    (Some(_), Some(held)) => held,
                    _ => 300,
                };
                lines.push(format!("page_size = {size}"));
                lines.push("strategy = \"daterange\"".to_owned());
                lines.push(format!("daterange = {{ max_bucket = {bucket} }}"));
                "a search for everything is refused, or stops at a ceiling; windows of _lastUpdated are heeded"
            } else {
                let param = if self.resource_type == "Practitioner" || self.resource_type == "Patient" {
                    "family"
                } else {
                    "name"
                };
                lines.push(format!("page_size = {size}"));
                lines.push("strategy = \"prefix\"".to_owned());
                lines.push(format!("prefix = {{ param = \"{param}\" }}"));
                "the total looks like a ceiling, and _lastUpdated is not heeded: names by their beginnings"
            }
        } else if let Some(param) = &self.offset {
            lines.push(format!("page_size = {size}"));
            lines.push(sorted.to_owned());
            lines.push("strategy = \"offset\"".to_owned());
            let by = if param == "page" { ", by = \"pages\"" } else { "" };
            lines.push(format!("offset = {{ param = \"{param}\"{by} }}"));
            "there are no usable next links, and this parameter pages"
        } else if ["none", "dead"].contains(&&*self.next_link) && self.last_updated_honoured {
            lines.push(format!("page_size = {size}"));
            lines.push("strategy = \"daterange\"".to_owned());
            lines.push(format!("daterange = {{ max_bucket = {size} }}"));
            lines.push("first_page_only = true".to_owned());
            "there are no next links that live and no parameter that pages: windows that fit on one page"
        } else {
            lines.push(format!("page_size = {size}"));
            lines.push(sorted.to_owned());
            "one search, page by page"
        };
        lines.retain(|line| !line.is_empty());
        (format!("[resources.{}]\n{}", self.resource_type, lines.join("\n")), why.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_capability_statement_is_advice() {
        let body = br#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","software":{"name":"HAPI FHIR Server","version":"6"},
            "rest":[{"resource":[{"type":"Location"},{"type":"Practitioner"}]}]}"#;
        let found = capability(body);
        assert_eq!((found.platform.as_deref(), found.software.as_deref()), (Some("hapi"), Some("HAPI FHIR Server 6")));
        assert_eq!(found.types.len(), 2);
        assert!(capability(b"<html>").problem.unwrap().contains("not JSON"));
        assert!(capability(b"{}").problem.unwrap().contains("CapabilityStatement"));
    }

    #[test]
    fn the_strategy_follows_from_what_was_found() {
        let plain = TypeFindings {
            resource_type: "Location".into(),
            searchable: true,
            sort_honoured: true,
            next_link: "absolute".into(),
            last_updated_honoured: true,
            ..TypeFindings::default()
        };
        for (found, line) in [
            (plain.clone(), "_sort"),
            (TypeFindings { page_ceiling: Some(50), ..plain.clone() }, "page_size = 50"),
            (TypeFindings { large_page_empty: true, ..plain.clone() }, "page_size = 100"),
            (TypeFindings { cap_suspected: true, total: Some(10_000), ..plain.clone() }, "max_bucket = 5000"),
            (
                TypeFindings { cap_suspected: true, total: Some(961), page_ceiling: Some(500), ..plain.clone() },
                "max_bucket = 500",
            ),
            (TypeFindings { cap_suspected: true, last_updated_honoured: false, ..plain.clone() }, "prefix"),
            (TypeFindings { searchable: false, ..plain.clone() }, "daterange"),
            (TypeFindings { searchable: false, last_updated_honoured: false, ..plain.clone() }, "id-read"),
            (TypeFindings { next_link: "none".into(), offset: Some("page".into()), ..plain.clone() }, "by = \"pages\""),
            (TypeFindings { next_link: "dead".into(), ..plain.clone() }, "first_page_only"),
            (TypeFindings { next_link: "none".into(), ..plain }, "first_page_only"),
        ] {
            let (snippet, _) = found.suggestion();
            assert!(snippet.starts_with("[resources.Location]\n") && snippet.contains(line), "{snippet}");
        }
    }
}
