//! What is said to the operator about an ending, with what to do.

use super::{ResourceOutcome, ResourcePlan};
use crate::{
    ending::{EndedBy, Evidence},
    judgement::RefusalKind,
    strategy::{Closure, Strategy},
};

pub(super) fn refused(kind: RefusalKind) -> (EndedBy, &'static str) {
    match kind {
        RefusalKind::Unauthorized => {
            (EndedBy::Refused, "check the credentials: their kind, their header, and that they are not expired")
        }
        RefusalKind::Forbidden => {
            (EndedBy::Refused, "these credentials may not read this: ask the publisher for access")
        }
        RefusalKind::NotFound => {
            (EndedBy::Unsupported, "the server does not serve this type here: if it serves none, check the base URL")
        }
        RefusalKind::Gone | RefusalKind::Search => (
            EndedBy::Refused,
            "the server refuses this search: try another page size, parameters or another strategy under [resources.<Type>]",
        ),
        RefusalKind::TooLarge => (
            EndedBy::Refused,
            "the answer is too large even on small pages: raise max_page_bytes under [limits], or divide the search by \
             another strategy under [resources.<Type>]",
        ),
        RefusalKind::NotFhir => (EndedBy::NotFhir, "the base URL does not lead to a FHIR server: check it"),
        RefusalKind::Other => (EndedBy::Refused, "the server refuses the request"),
    }
}

pub(super) fn why_partial(plan: &ResourcePlan, ended_by: Option<EndedBy>, evidence: &Evidence) -> String {
    let (name, ids) = (&plan.resource_type, evidence.unique);
    let strategy = plan.strategy_name();
    match (ended_by, evidence.server_total) {
        (Some(EndedBy::LastPage | EndedBy::Split), _) if evidence.more_is_seen && ids == 0 => format!(
            "{name}: the searches of the strategy {strategy} brought nothing, and the server, asked for the type as a \
             whole, does not agree that there is nothing: use another strategy under [resources.{name}]"
        ),
        (Some(EndedBy::LastPage | EndedBy::Split), _) if evidence.more_is_seen => format!(
            "{name}: the searches of the strategy {strategy} brought {ids} ids, and the server, asked for the type as a \
             whole, shows others: use a strategy that covers all"
        ),
        (Some(EndedBy::LastPage | EndedBy::Split), Some(total))
            if evidence.coverage().is_some_and(|one| one < evidence.min_coverage) =>
        {
            format!("{name}: paging ended with {ids} ids, but the server counts {total}")
        }
        (Some(EndedBy::LastPage | EndedBy::Split), _) if evidence.quarantined > 0 => format!(
            "{name}: paging ended with {ids} ids, and {} resources that are of no use: they are in the quarantine, each \
             with the reason",
            evidence.quarantined
        ),
        (Some(EndedBy::LastPage | EndedBy::Split), _) if evidence.closure == Closure::Open => format!(
            "{name}: the searches of the strategy {strategy} ended well, but the server gives no count that could show \
             that they found everything: use a strategy that covers all, or publish = \"always\""
        ),
        (Some(EndedBy::LastPage | EndedBy::Split), _) if !evidence.sources_whole => format!(
            "{name}: what the strategy {strategy} starts from is not complete itself{}",
            plan.strategy.source().map(|from| format!(": see {from}")).unwrap_or_default()
        ),
        (Some(EndedBy::Cap), _) => format!(
            "{name}: the server gives no more than so many resources of one search, {ids} ids came: divide it by \
             strategy = \"daterange\" or \"prefix\" under [resources.{name}]"
        ),
        (Some(EndedBy::ShortPageWithoutNext), _) => format!(
            "{name}: {ids} ids on a full page without a next link, though there are more: ask for larger pages, or \
             use another strategy under [resources.{name}]"
        ),
        (Some(EndedBy::ForeignLink), _) => format!(
            "{name}: the next link leads to another origin: allow it with trusted_origins, or mend it with rewrite_next"
        ),
        // What is refused while pages come has the server's own words.
        (Some(EndedBy::Refused), _) => format!(
            "{name}: {ids} ids, then the server refused to show whether there are more: {}",
            refused(RefusalKind::Unauthorized).1
        ),
        (Some(ended_by), _) => format!("{name}: {ids} ids, then paging ended by {ended_by}"),
        (None, _) => format!("{name}: {ids} ids"),
    }
}

/// What to say of a server whose order is not stable.
pub(super) fn unstable(plan: &ResourcePlan) -> String {
    let name = &plan.resource_type;
    format!(
        "{name}: pages repeat ids in no order, so that others may be left out, and no count says that none is: try \
         params = {{ _sort = \"_id\" }}, or another strategy, under [resources.{name}]"
    )
}

/// Why there is nothing at all, where no request says it.
pub(super) fn why_nothing(plan: &ResourcePlan, sources: &[&ResourceOutcome]) -> Option<String> {
    let name = &plan.resource_type;
    let from = plan.strategy.source()?;
    Some(match sources.first() {
        None => format!("{name}: the strategy starts from {from}, which this crawl does not ask for"),
        Some(source) => format!("{name}: the strategy starts from {from}, which is {}", source.status),
    })
}

/// What an operator should know of a type that ended well.
pub(super) fn what_to_know(plan: &ResourcePlan, missing: &u64, whole_search: bool) -> Option<String> {
    let name = &plan.resource_type;
    if *missing > 0 {
        return Some(format!("{name}: {missing} resources that others refer to are not on the server"));
    }
    let divided = !matches!(plan.strategy, Strategy::Bare | Strategy::Include { .. } | Strategy::Bulk(_));
    (divided && whole_search).then(|| {
        format!(
            "{name}: the server ignores the parameter of the strategy {}: it was crawled by one search instead",
            plan.strategy_name()
        )
    })
}
