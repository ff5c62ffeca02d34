//! The real binary against the sandbox, driven like a user would; one file a story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod apis;
mod atomic;
mod check;
mod config_mistakes;
mod conformance;
mod cookbook;
mod derived;
mod encrypted;
mod first_run;
mod flatten;
mod harness;
mod history;
mod killed;
mod layout;
mod login;
mod mistakes;
mod nine_jobs;
mod object_store;
mod pages;
mod patient;
mod platforms;
mod progress;
mod refreshed;
mod report;
mod rerun;
mod schedule;
mod sensitive;
mod smart_backend;
mod storage;
mod support;
mod tables;
mod verify;
mod views;
