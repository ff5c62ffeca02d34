//! A sandbox on a free port of the loopback interface, and a client that reads Bundles.

#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use fhirvest_sandbox::{Options, Traffic, World, serve};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub(crate) const DIRECTORY: &str = "/highmark/provider-directory";
pub(crate) const PHARMACIES: &str = "/highmark/esi-provider-directory";
pub(crate) const FORMULARY: &str = "/highmark/esi-formulary";
pub(crate) const FORMULARY_STU1: &str = "/highmark/esi-formulary-stu1";

/// A running sandbox; it stops when this is dropped.
pub(crate) struct Running {
    pub(crate) origin: String,
    pub(crate) world: Arc<World>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) client: reqwest::Client,
    _stop: oneshot::Sender<()>,
}

pub(crate) async fn run(world: Arc<World>, mut options: Options) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let traffic = options.traffic.get_or_insert_default().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = Arc::clone(&world);
    tokio::spawn(async move {
        serve(listener, served, options, async {
            let _ = stopped.await;
        })
        .await
        .unwrap();
    });
    Running { origin, world, traffic, client: reqwest::Client::new(), _stop: stop }
}

pub(crate) async fn small() -> Running {
    run(Arc::new(World::synthetic(1, 60)), Options::default()).await
}

impl Running {
    pub(crate) async fn get(&self, target: &str) -> reqwest::Response {
        let url = if target.starts_with("http") { target.to_owned() } else { format!("{}{target}", self.origin) };
        self.client.get(url).send().await.unwrap()
    }

    pub(crate) async fn json(&self, target: &str) -> Value {
        serde_json::from_str(&self.get(target).await.text().await.unwrap()).unwrap()
    }

    /// Follows next links to the end; ids of matches with how often each came.
    pub(crate) async fn crawl(&self, target: &str) -> BTreeMap<String, usize> {
        let mut ids = BTreeMap::new();
        let mut next = Some(target.to_owned());
        let mut pages = 0;
        while let Some(target) = next {
            let bundle = self.json(&target).await;
            for id in ids_of(&bundle) {
                *ids.entry(id).or_insert(0) += 1;
            }
            next = link(&bundle, "next");
            pages += 1;
            assert!(pages < 10_000, "no end of {target}");
        }
        ids
    }

    pub(crate) async fn total(&self, target: &str) -> u64 {
        self.json(target).await["total"].as_u64().unwrap()
    }
}

/// The ids of the matches of a page, in order.
pub(crate) fn ids_of(bundle: &Value) -> Vec<String> {
    ids_in_mode(bundle, "match")
}

pub(crate) fn ids_in_mode(bundle: &Value, mode: &str) -> Vec<String> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let wanted = entries.iter().filter(|entry| entry["search"]["mode"] == mode);
    wanted.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array()?;
    let link = links.iter().find(|link| link["relation"] == relation)?;
    link["url"].as_str().map(str::to_owned)
}
