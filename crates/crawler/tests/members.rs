//! The data of some members, and of nobody else: by searches, by `$everything`, and what they refer to by reads.
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a real server tells real times")]

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use chrono::Utc;
use fhirvest_crawler::{
    client,
    ending::{EndedBy, Status},
    engine::{Crawl, CrawlOutcome, ResourcePlan},
    event::Silent,
    memory::MemoryStore,
    source::{Limits, Pace, Source},
    store::Store,
    strategy::Strategy,
};
use fhirvest_fhir::{patient, resource::head};
use fhirvest_sandbox::{Options, World, serve};
use tokio::{net::TcpListener, sync::watch};
use url::Url;

const MOUNT: &str = "/highmark/patient-access";
const READ: [&str; 3] = ["Location", "Organization", "Practitioner"];
static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| Arc::new(World::synthetic(11, 500)));

fn members() -> Vec<String> {
    let mount = WORLD.mounts().iter().find(|mount| mount.path == MOUNT).unwrap();
    mount.members()[..2].to_vec()
}

fn types() -> Vec<String> {
    let mount = WORLD.mounts().iter().find(|mount| mount.path == MOUNT).unwrap();
    mount.types().map(|(kind, _)| kind.to_owned()).collect()
}

/// Ids of a type that belong to these members: the sandbox names everything after its owner.
fn own(resource_type: &str, members: &[String]) -> BTreeSet<String> {
    let ids = WORLD.resources(MOUNT, resource_type).filter_map(|text| Some(head(text).ok()?.id?.into_owned()));
    ids.filter(|id| members.iter().any(|member| id.starts_with(member.as_str()))).collect()
}

async fn base(options: Options) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}{MOUNT}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(serve(listener, Arc::clone(&WORLD), options, std::future::pending()));
    base
}

async fn crawl(base: Url, plans: &[ResourcePlan], store: &Arc<MemoryStore>) -> CrawlOutcome {
    let source = Source::new(base);
    let (_keep, cancel) = watch::channel(false);
    let limits = Limits { max_retries: 1, ..Limits::default() };
    let pace = Pace { requests_per_second: 0.0, burst: 1, concurrency: 3 };
    let way = || client(&source, pace, &limits, Arc::default(), Utc::now, Arc::new(Silent), cancel.clone()).unwrap();
    let crawl = Crawl::new(way(), Arc::clone(store), source.clone(), limits, 3, Arc::new(Silent));
    crawl.with_members(vec![way(), way()]).run(plans).await.unwrap()
}

fn plan(resource_type: &str, strategy: Strategy) -> ResourcePlan {
    ResourcePlan { page_size: Some(5), strategy, whole_type: false, ..ResourcePlan::new(resource_type) }
}

async fn ids(store: &MemoryStore, resource_type: &str) -> BTreeSet<String> {
    store.ids(resource_type, None, usize::MAX).await.unwrap().into_iter().collect()
}

/// What the members' resources refer to, and no more: the sandbox's last practitioner is nobody's.
async fn nothing_else_came(store: &MemoryStore, outcome: &CrawlOutcome) {
    for one in &outcome.resources {
        let found = ids(store, &one.resource_type).await;
        assert_eq!(one.status, Status::Complete, "{one:?}");
        if READ.contains(&one.resource_type.as_str()) {
            assert!(!found.is_empty() && !found.contains("practitioner-7"), "{found:?}");
        } else {
            assert_eq!(found, own(&one.resource_type, &members()), "{}", one.resource_type);
        }
    }
}

#[tokio::test]
async fn each_members_data_come_by_searches_of_its_own() {
    let by_search = |name: &str| match patient::search_parameter(name) {
        Some(param) => plan(name, Strategy::Patient { param: param.into(), members: members() }),
        None => plan(name, Strategy::IdRead),
    };
    let plans: Vec<ResourcePlan> = types().iter().map(|name| by_search(name)).collect();
    let store = Arc::new(MemoryStore::watching(&READ));
    let outcome = crawl(base(Options::default()).await, &plans, &store).await;
    assert_eq!(outcome.resources.len(), 20);
    nothing_else_came(&store, &outcome).await;
    let claims = outcome.resources.iter().find(|one| one.resource_type == "ExplanationOfBenefit").unwrap();
    assert_eq!((claims.partitions, claims.strategy.as_str()), (2, "patient"));
    assert_eq!(claims.server_total, Some(claims.counts.archived), "the sum of the members' counts");
}

#[tokio::test]
async fn everything_brings_all_types_along() {
    let by_operation = |name: &str| match (name, patient::search_parameter(name)) {
        ("Patient", _) => plan(name, Strategy::Everything { members: members() }),
        (_, Some(_)) => plan(name, Strategy::IncludedBy { from: "Patient".into() }),
        (_, None) => plan(name, Strategy::IdRead),
    };
    let plans: Vec<ResourcePlan> = types().iter().map(|name| by_operation(name)).collect();
    let store = Arc::new(MemoryStore::watching(&READ));
    let outcome = crawl(base(Options::default()).await, &plans, &store).await;
    nothing_else_came(&store, &outcome).await;
}

#[tokio::test]
async fn a_type_is_complete_only_if_each_members_is() {
    let both = members();
    let plans = [plan("Condition", Strategy::Patient { param: "patient".into(), members: both.clone() })];
    let store = Arc::new(MemoryStore::default());
    let options = Options { member: Some(both[0].clone()), ..Options::default() };
    let outcome = crawl(base(options).await, &plans, &store).await;
    let conditions = &outcome.resources[0];
    assert_eq!((conditions.status, conditions.ended_by), (Status::Partial, Some(EndedBy::Refused)));
    assert_eq!(ids(&store, "Condition").await, own("Condition", &both[..1]));
    assert!(!conditions.detail.as_ref().unwrap().contains(&both[1]), "{:?}", conditions.detail);
}
