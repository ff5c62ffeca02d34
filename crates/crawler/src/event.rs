//! What happens in a crawl, as values: log lines, metrics, progress bars and the report all derive from these.

use std::time::Duration;

use crate::{
    ending::{EndedBy, Status},
    store::PageCounts,
};

/// Something that has just happened. No variant holds a credential or anything from a resource.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// One attempt of a request is over.
    Attempt {
        /// The address, without anything secret.
        url: String,
        /// The HTTP status; none where no answer came.
        status: Option<u16>,
        /// From sending to the last byte, without what it waited for a token or for its host's turn.
        took: Duration,
        /// Bytes of the decompressed body.
        bytes: usize,
        /// Why no answer came.
        error: Option<String>,
    },
    /// The crawl waits before another attempt.
    Waiting {
        /// The address, without anything secret.
        url: String,
        /// For how long.
        delay: Duration,
        /// Why.
        reason: String,
        /// Which retry it will be, from 1.
        retry: u32,
    },
    /// A page and its cursor are on the disk.
    PageCommitted {
        /// The type whose search it belongs to.
        resource_type: String,
        /// The partition.
        partition: String,
        /// What became of its entries.
        counts: PageCounts,
        /// The server's count, where it gives one.
        server_total: Option<u64>,
    },
    /// A partition is over.
    PartitionEnded {
        /// The partition.
        partition: String,
        /// Why.
        ended_by: EndedBy,
    },
    /// A resource type is over.
    TypeEnded {
        /// The type.
        resource_type: String,
        /// What it came to.
        status: Status,
        /// Its ids.
        unique: u64,
    },
}

/// Somebody who wants to know.
pub trait EventSink: Send + Sync + 'static {
    /// Takes note of an event; must not block.
    fn event(&self, event: &Event);
}

/// Several who want to know, told in this order.
#[derive(Clone, Default)]
pub struct Several(pub Vec<std::sync::Arc<dyn EventSink>>);

impl EventSink for Several {
    fn event(&self, event: &Event) {
        for sink in &self.0 {
            sink.event(event);
        }
    }
}

/// Nobody wants to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn event(&self, _: &Event) {}
}
