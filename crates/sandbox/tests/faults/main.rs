//! Each fault does what its description says, as a client sees it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bulk;
mod content;
mod links;
mod pages;
#[path = "../support/mod.rs"]
mod support;
mod trouble;

use std::sync::Arc;

use fhirvest_sandbox::{Fault, Options, World};
use support::Running;

/// A sandbox of 60 practitioners with these faults.
async fn faulty(names: &[&str]) -> Running {
    sized(60, names).await
}

async fn sized(size: usize, names: &[&str]) -> Running {
    let faults = names.iter().map(|name| name.parse::<Fault>().unwrap()).collect();
    support::run(Arc::new(World::synthetic(1, size)), Options { faults, ..Options::default() }).await
}

/// Every fault is named in a test of this suite.
#[test]
fn no_fault_is_untested() {
    let sources = [
        include_str!("bulk.rs"),
        include_str!("content.rs"),
        include_str!("links.rs"),
        include_str!("pages.rs"),
        include_str!("trouble.rs"),
    ];
    for fault in Fault::all() {
        let name = format!("\"{fault}\"");
        assert!(sources.iter().any(|source| source.contains(&name)), "{name} is not tested");
    }
}
