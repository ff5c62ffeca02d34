//! What the columns of a table hold at the places of its walks.

use crate::{
    arena::{NONE, Piece, Value},
    chain::{Chain, SEVERAL},
    column::Scalar,
    evaluate::{Evaluator, Fail, Item},
    operation::Operation,
    plan::{Cell, Fast, Source},
    rows::{Gathered, Place, number},
};

/// What a cell holds. Most hold a text or nothing, and a row may be there many times: so this is small.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Filling {
    #[default]
    Nothing,
    /// A text, or a number as written.
    Text(Piece),
    /// One element.
    Node(u32),
    /// A place in a list: `%rowIndex`.
    RowIndex(u32),
    /// The values between two places among the items.
    Items(u32, u32),
    /// A value of another type than the expression can deal with.
    Misfit,
}

/// A resource that gives no rows: its node, and why.
pub(crate) type Refused = (u32, String);

impl Evaluator<'_> {
    /// Evaluates a column at all places of a walk; adds what it finds, and the resources that it cannot be evaluated for.
    pub(crate) fn cells<'p>(
        &self,
        cell: &Cell,
        (walk, source): (usize, &'p Source),
        gathered: &Gathered<'p>,
        (fillings, items): (&mut Vec<Filling>, &mut Vec<Item<'p>>),
        refused: &mut Vec<Refused>,
    ) {
        let places = &gathered.walks[walk];
        let plain = gathered.is_plain(self);
        match (&source.fast, &source.operation) {
            (Fast::Chain(chain), _) if plain && !cell.collection => {
                let text = cell.scalar == Scalar::Text;
                fillings.extend(places.iter().map(|place| {
                    let found = self.only(chain, place, cell, refused);
                    if found == NONE {
                        return Filling::Nothing;
                    }
                    match self.arena.node(found).value {
                        Value::Text(piece) | Value::Number(piece) if text => Filling::Text(piece),
                        _ => Filling::Node(found),
                    }
                }));
            }
            (_, Operation::RowIndex) if !cell.collection => {
                fillings.extend(places.iter().map(|place| Filling::RowIndex(place.row_index)));
            }
            (_, Operation::Text(text)) => {
                let start = items.len();
                items.push(Item::Literal(text));
                fillings.extend(places.iter().map(|_| Filling::Items(number(start), number(start + 1))));
            }
            _ => {
                for place in places {
                    let filling = self.fill(cell, source, place, gathered, items);
                    fillings.push(filling.unwrap_or_else(|fail| {
                        refuse(refused, place.root, fail);
                        Filling::Nothing
                    }));
                }
            }
        }
    }

    #[inline]
    fn only(&self, chain: &Chain, place: &Place, cell: &Cell, refused: &mut Vec<Refused>) -> u32 {
        match chain.only(self, place.root, place.node) {
            SEVERAL => {
                refuse(refused, place.root, several(cell));
                NONE
            }
            found => found,
        }
    }

    /// What a column's expression gives at a place.
    fn fill<'p>(
        &self,
        cell: &Cell,
        source: &'p Source,
        place: &Place,
        gathered: &Gathered<'p>,
        items: &mut Vec<Item<'p>>,
    ) -> Result<Filling, Fail> {
        let start = items.len();
        let read = self.items(source, gathered.focus(place), &mut |item| {
            items.push(item);
            Ok(true)
        });
        match read {
            Err(fail) if fail.misfit => {
                items.truncate(start);
                return Ok(Filling::Misfit);
            }
            read => read?,
        }
        match items.len() - start {
            // An empty list is told from no list by nobody, but a list column's rows count their values.
            0 => Ok(Filling::Nothing),
            more if more > 1 && !cell.collection => Err(several(cell)),
            1 if let (Some(Item::Part(piece)), false) = (items.last(), cell.collection) => {
                let piece = *piece;
                items.truncate(start);
                Ok(Filling::Text(piece))
            }
            _ => Ok(Filling::Items(number(start), number(items.len()))),
        }
    }
}

/// Notes a resource, but not again for each of its places.
fn refuse(refused: &mut Vec<Refused>, root: u32, fail: Fail) {
    if refused.last().is_none_or(|(last, _)| *last != root) {
        refused.push((root, fail.message));
    }
}

fn several(cell: &Cell) -> Fail {
    let name = &cell.name;
    Fail::new(format!("the column `{name}` has several values: take .first(), or say collection: true"))
}
