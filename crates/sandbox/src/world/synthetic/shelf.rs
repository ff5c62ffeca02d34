//! Where made-up resources are put as they are written.

use super::json::Json;
use crate::world::table::{Head, ResourceTable, TableBuilder};

/// The resources of one type.
#[derive(Debug)]
pub(super) struct Shelf {
    kind: &'static str,
    builder: TableBuilder,
    json: Json,
}

impl Shelf {
    pub(super) fn new(kind: &'static str) -> Self {
        Self { kind, builder: TableBuilder::new(kind), json: Json::default() }
    }

    /// Adds a resource: `body` writes what follows `resourceType` and `id`.
    pub(super) fn put(&mut self, id: &str, body: impl FnOnce(&mut Json)) {
        let kind = self.kind;
        self.json.clear();
        self.json.item(|json| {
            json.text("resourceType", kind);
            json.text("id", id);
            body(json);
        });
        keep(&mut self.builder, self.json.as_str());
    }

    /// Adds a resource that is text already.
    pub(super) fn put_text(&mut self, text: &str) {
        keep(&mut self.builder, text);
    }

    pub(super) fn close(self) -> ResourceTable {
        self.builder.finish()
    }
}

fn keep(builder: &mut TableBuilder, text: &str) {
    if let Ok(head) = Head::read(text)
        && let Some(id) = head.id()
    {
        // It fails beyond four billion rows only, which no `size` that fits into memory reaches.
        let _ = builder.push(text, &head, id);
    }
}
