//! How a sandbox behaves, besides what it holds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::authorization::SignIn;
use crate::faults::Fault;
use crate::platforms::Platform;
use crate::server::backend::BackendClient;
use crate::traffic::Traffic;

/// Entries a page has when the client does not ask for a number: HAPI's default.
pub(crate) const DEFAULT_COUNT: usize = 20;
/// Entries a page has at most.
pub(crate) const MAX_COUNT: usize = 5_000;

/// How the sandbox behaves. The default is open, well behaved and speaks like HAPI.
#[derive(Clone, Default)]
pub struct Options {
    /// The API key that every request under a mount must carry; without it the answer is 401.
    pub api_key: Option<ApiKey>,
    /// How members sign in to the mounts that hold their data; those then want a token and no API key. Without it they
    /// are as open as the others.
    pub sign_in: Option<SignIn>,
    /// A program with a key pair that asks for tokens in its own name (SMART Backend Services). Every request but
    /// `/metadata` then wants such a token, where no member signs in.
    pub backend: Option<BackendClient>,
    /// The bearer token that every request but `/metadata` must carry; without it the answer is 401.
    pub bearer: Option<String>,
    /// The member (`Patient.id`) whose data every caller may see; somebody else's are refused with 403. Without it,
    /// they see everybody's.
    pub member: Option<String>,
    /// Habits of badly behaved servers, all at once.
    pub faults: Vec<Fault>,
    /// The server family whose habits are played.
    pub platform: Option<Platform>,
    /// Where requests are written down, for whoever wants to look.
    pub traffic: Option<Arc<Traffic>>,
    /// Entries of a page when the client names no `_count` (20 when absent).
    pub default_count: Option<usize>,
    /// Entries of a page at most; a larger `_count` is lowered to it (5,000 when absent).
    pub max_count: Option<usize>,
    /// Whether answers of a KiB or more are gzip-compressed for clients that accept it, as payers' are. Off by default:
    /// it costs ten times what the page itself costs.
    pub gzip: bool,
    /// Time since 1970, for `Retry-After` dates, the life of tokens and Bulk Data's `transactionTime`; the machine's
    /// clock when absent.
    pub clock: Option<Clock>,
}

/// Tells the time since 1970-01-01T00:00:00Z.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// An API key and the header it travels in. Its value never shows in `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The header's name, e.g. `x-api-key`; case does not matter.
    pub header: String,
    /// The key.
    pub value: String,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ApiKey").field("header", &self.header).finish_non_exhaustive()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("api_key", &self.api_key)
            .field("sign_in", &self.sign_in)
            .field("backend", &self.backend)
            .field("bearer", &self.bearer.is_some())
            .field("faults", &self.faults)
            .field("platform", &self.platform)
            .field("default_count", &self.default_count)
            .field("max_count", &self.max_count)
            .field("gzip", &self.gzip)
            .finish_non_exhaustive()
    }
}
