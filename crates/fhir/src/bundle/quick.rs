//! A page as nearly all servers write it, at the speed of memory. What is written in another way gives nothing here, and is
//! for [`super::thorough`] to judge: this never says anything that the other would not.

use std::borrow::Cow;

use super::{Held, Mode, Parts, Slot, mode};
use crate::{
    quotes::QuoteBits,
    resource::{self, Head},
    walk::Walk,
};

type Page<'a> = Walk<'a, QuoteBits>;

pub(super) fn parts(text: &str) -> Option<Parts<'_>> {
    let quotes = QuoteBits::find(text.as_bytes()).ok()?;
    let escapes = quotes.escapes();
    let mut parts = Parts::default();
    let mut seen = [false; 4];
    Walk::new(text, quotes).object(|walk, key, at| {
        let place = match key {
            b"resourceType" => 0,
            b"total" => 1,
            b"link" => 2,
            b"entry" => 3,
            _ if escapes && is_escaped(key) => return None,
            _ => return walk.skip(at),
        };
        // A key that comes twice is refused, but not here.
        if std::mem::replace(&mut seen[place], true) {
            return None;
        }
        if place == 3 && walk.byte(at) == b'[' {
            return walk.elements(at, |walk, at| {
                let (slot, end) = slot(walk, escapes, at)?;
                if parts.slots.is_empty() {
                    // All entries of a page are about as long.
                    parts.slots.reserve((text.len() / (end - at)).min(MOST_AT_ONCE));
                }
                parts.slots.push(slot);
                Some(end)
            });
        }
        let end = walk.skip(at)?;
        let value = Some(walk.piece(at, end)?).filter(|value| *value != "null");
        match place {
            0 => parts.resource_type = value,
            1 => parts.total = value,
            2 => parts.link = value,
            // Neither an array nor null.
            _ if value.is_some() => return None,
            _ => {}
        }
        Some(end)
    })?;
    Some(parts)
}

/// Entries that room is made for before they have come.
const MOST_AT_ONCE: usize = 1_024;

#[inline]
fn is_escaped(key: &[u8]) -> bool {
    key.contains(&b'\\')
}

/// An element of `Bundle.entry`, and the place after it.
fn slot<'a>(walk: &mut Page<'a>, escapes: bool, at: usize) -> Option<(Slot<'a>, usize)> {
    if walk.byte(at) != b'{' {
        return None;
    }
    let mut slot = Slot::default();
    let end = walk.members(at, |walk, key, at| match key {
        b"resource" => {
            let (head, end) = match walk.byte(at) {
                b'{' => head(walk, escapes, at).map(|(head, end)| (Some(head), end))?,
                _ => (None, walk.skip(at)?),
            };
            let raw = walk.piece(at, end)?;
            slot.resource = (raw != "null").then_some(Held { raw, head });
            Some(end)
        }
        b"search" => {
            let (mode, end) = search(walk, at)?;
            slot.mode = mode;
            Some(end)
        }
        _ if escapes && is_escaped(key) => None,
        _ => walk.skip(at),
    })?;
    Some((slot, end))
}

/// `entry.search`, and the place after it.
fn search(walk: &mut Page<'_>, at: usize) -> Option<(Option<Mode>, usize)> {
    // As nearly all servers write it; whatever else it may be is read at leisure.
    for (usual, mode) in [(r#"{"mode":"match"}"#, Mode::Match), (r#"{"mode":"include"}"#, Mode::Include)] {
        if walk.piece(at, at + usual.len()) == Some(usual) {
            return Some((Some(mode), at + usual.len()));
        }
    }
    let end = walk.skip(at)?;
    Some((mode(walk.piece(at, end)?), end))
}

/// The head of the resource that begins here, the same as [`resource::head`] finds, and the place after the resource.
fn head<'a>(walk: &mut Page<'a>, escapes: bool, open: usize) -> Option<(Head<'a>, usize)> {
    let (mut head, mut typed, mut escaped) = (Head::default(), false, false);
    let end = walk.members(open, |walk, key, at| match key {
        b"resourceType" if !typed => {
            let end = walk.skip(at)?;
            (head.resource_type, typed) = (resource::string(walk.piece(at, end)?).unwrap_or_default(), true);
            Some(end)
        }
        b"id" if head.id.is_none() => {
            let end = walk.skip(at)?;
            head.id = resource::string(walk.piece(at, end)?).filter(|id| !id.is_empty());
            Some(end)
        }
        b"meta" if head.last_updated.is_none() => {
            let (stamp, end) = meta(walk, escapes, at)?;
            head.last_updated = stamp;
            Some(end)
        }
        _ => {
            escaped |= escapes && is_escaped(key);
            walk.skip(at)
        }
    })?;
    if escaped {
        head = resource::head(walk.piece(open, end)?).ok()?;
    }
    Some((head, end))
}

/// `meta.lastUpdated` of the `meta` that begins here, and the place after it.
fn meta<'a>(walk: &mut Page<'a>, escapes: bool, open: usize) -> Option<(Option<Cow<'a, str>>, usize)> {
    let (mut stamp, mut plain) = (None, walk.byte(open) == b'{');
    let end = if plain {
        walk.members(open, |walk, key, at| {
            let end = walk.skip(at)?;
            if key == b"lastUpdated" {
                plain &= stamp.is_none();
                stamp = Some(walk.piece(at, end)?);
            }
            plain &= !(escapes && is_escaped(key));
            Some(end)
        })?
    } else {
        walk.skip(open)?
    };
    let stamp = if plain { stamp.and_then(resource::string) } else { resource::last_updated(walk.piece(open, end)?) };
    Some((stamp, end))
}
