//! A small payer to crawl: FHIR R4 provider directory, pharmacy directory, formularies of both guide generations, and
//! members with their claims and records, behind the API shapes that real payers have, well behaved or, on request, badly.
//!
//! The promise: the same seed and size make the same resources on every machine, every search finds exactly what its
//! parameters say, paging to the end of one gives each match once, a next link survives a restart of the sandbox, and
//! the caller's own resources come back as the very text they were read from. Only a fault that was asked for breaks
//! any of this.
//!
//! The synthetic data is untidy where real data is: National Provider Identifiers marked in four ways, a few with a
//! wrong check digit, a few as JSON numbers; phones with extensions, ZIP+4 without hyphen, coordinates as empty
//! strings; roles without practitioner, organization, location or network; dangling, absolute, versioned, contained and
//! logical references; `lastUpdated` with no, three or seven fractional digits.
//!
//! ```
//! use std::sync::Arc;
//! use fhirvest_sandbox::{Options, World, serve};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let world = Arc::new(World::synthetic(1, 50));
//! for mount in world.mounts() {
//!     assert!(mount.types().all(|(_, count)| count > 0));
//! }
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let shutdown = async {}; // at once: a program would wait for a signal here
//! serve(listener, world, Options::default(), shutdown).await?;
//! # Ok(())
//! # })
//! # }
//! ```

mod authorization;
mod bundle;
mod capability;
mod error;
mod faults;
mod options;
mod platforms;
mod search;
mod server;
mod traffic;
mod world;

pub use authorization::{CLIENT_ID, Consent, SignIn};
pub use error::SandboxError;
pub use faults::Fault;
pub use options::{ApiKey, Clock, Options};
pub use platforms::Platform;
pub use server::{
    InProcess, InProcessAnswer,
    backend::{BACKEND_CLIENT_ID, BackendClient},
    serve,
};
pub use traffic::{Exchange, Traffic};
pub use world::{Mount, World};
