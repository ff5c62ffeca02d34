//! What the columns of a table hold at the places of its walks.

use crate::{
    arena::{NONE, Piece, SEVERAL, Value, bit},
    chain::Chain,
    column::Scalar,
    evaluate::{Evaluator, Fail, Focus, Item},
    operation::Operation,
    plan::{Cell, Compiled, Fast, Group, Source, Start},
    rows::{Gathered, Place, number},
};

/// What a cell holds. Most hold a text or nothing, and a row may be there many times: so this is small.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Filling {
    #[default]
    Nothing,
    /// A text, or a number as written.
    Text(Piece),
    /// A number, as written, in a column that is not of texts.
    Number(Piece),
    Boolean(bool),
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

/// What is filled in at the places of a walk.
struct Filled<'f, 'p> {
    fillings: &'f mut Vec<Filling>,
    /// The values of cells that hold more than a filling can.
    items: &'f mut Vec<Item<'p>>,
    refused: &'f mut Vec<Refused>,
}

impl Filled<'_, '_> {
    /// A node, none, or several.
    #[inline(always)]
    fn node(&mut self, evaluator: &Evaluator<'_>, cell: &Cell, place: &Place, found: u32) {
        evaluator.fill_in(cell, place, found, self.refused, |filling| self.fillings.push(filling));
    }

    fn push(&mut self, place: &Place, filling: Result<Filling, Fail>) {
        self.fillings.push(filling.unwrap_or_else(|fail| {
            refuse(self.refused, place.root, fail);
            Filling::Nothing
        }));
    }
}

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
        let fast = gathered.is_plain(self) && !cell.collection;
        let mut filled = Filled { fillings, items, refused };
        match (&source.fast, &source.operation) {
            (Fast::Chain(chain), _) if fast => self.fields(cell, chain, source.stem, (places, gathered), &mut filled),
            (Fast::Keys(chain, reference, of_type), _) if fast => {
                let stems = source.stem.and_then(|(stem, _)| gathered.stems.get(stem));
                for (number, place) in places.iter().enumerate() {
                    let stem = stems.and_then(|stems| stems.get(number)).copied();
                    let of = stem.unwrap_or_else(|| chain.only(self, place.root, place.node));
                    let only = if of < SEVERAL { self.arena.only(of, *reference) } else { of };
                    let filling = match only {
                        NONE => Ok(Filling::Nothing),
                        SEVERAL => self.fill(cell, source, gathered.focus(place), filled.items),
                        only => Ok(self.key_of(only, of_type.as_deref())),
                    };
                    filled.push(place, filling);
                }
            }
            (_, Operation::RowIndex) if !cell.collection => {
                filled.fillings.extend(places.iter().map(|place| Filling::RowIndex(place.row_index)));
            }
            (_, Operation::This) if fast => {
                for place in places {
                    match place.node {
                        NONE => {
                            let filling = self.fill(cell, source, gathered.focus(place), filled.items);
                            filled.push(place, filling);
                        }
                        node => filled.node(self, cell, place, node),
                    }
                }
            }
            (_, Operation::Text(text)) => {
                let start = filled.items.len();
                filled.items.push(Item::Literal(text));
                filled.fillings.extend(places.iter().map(|_| Filling::Items(number(start), number(start + 1))));
            }
            _ => {
                let needs = source.needs.filter(|(start, _)| *start == Start::Focus && gathered.is_plain(self));
                let has =
                    |place: &Place| needs.is_none_or(|(_, name)| self.arena.node(place.node).names & bit(name) != 0);
                for place in places {
                    let filling = if place.node == NONE || has(place) {
                        self.fill(cell, source, gathered.focus(place), filled.items)
                    } else {
                        Ok(Filling::Nothing)
                    };
                    filled.push(place, filling);
                }
            }
        }
    }

    /// The key of a reference, of which the node is given.
    #[inline(always)]
    pub(crate) fn key_of(&self, reference: u32, of_type: Option<&str>) -> Filling {
        match self.arena.value(reference) {
            Value::Text(piece) => self.key_in(*piece, of_type).map_or(Filling::Nothing, Filling::Text),
            _ => Filling::Nothing,
        }
    }

    /// What a chain of fields leads to at all places of a walk. A stem comes as its number and the field that follows it.
    fn fields<'p>(
        &self,
        cell: &Cell,
        chain: &Chain,
        stem: Option<(usize, u32)>,
        (places, gathered): (&[Place], &Gathered<'p>),
        filled: &mut Filled<'_, 'p>,
    ) {
        filled.fillings.reserve(places.len());
        let whole = |place: &Place| chain.only(self, place.root, place.node);
        match (stem.and_then(|(stem, name)| Some((gathered.stems.get(stem)?, name))), chain.field()) {
            (Some((stems, name)), _) => {
                for (place, stem) in places.iter().zip(stems) {
                    match *stem {
                        NONE => filled.node(self, cell, place, NONE),
                        SEVERAL => filled.node(self, cell, place, whole(place)),
                        stem => filled.node(self, cell, place, self.arena.only(stem, name)),
                    }
                }
            }
            (None, Some(name)) => {
                for place in places {
                    let found = if place.node == NONE { NONE } else { self.arena.only(place.node, name) };
                    filled.node(self, cell, place, found);
                }
            }
            (None, None) => places.iter().for_each(|place| filled.node(self, cell, place, whole(place))),
        }
    }

    /// Fills in columns that are fields of one element: each element is gone through once.
    pub(crate) fn group<'p>(
        &self,
        view: &Compiled,
        group: &Group,
        gathered: &Gathered<'p>,
        fillings: &mut [Vec<Filling>],
        refused: &mut Vec<Refused>,
    ) {
        let places = &gathered.walks[group.walk];
        let mut any = false;
        for column in &group.columns {
            let lacks = |(walk, source): &(usize, Source)| gathered.lacks(*walk, source.needs);
            // Where none of the places has what a column begins with, its cells stay untold.
            if !view.sources[*column].iter().all(lacks) {
                fillings[*column].resize(places.len(), Filling::Nothing);
                any = true;
            }
        }
        if !any {
            return;
        }
        let stems = group.stem.and_then(|stem| gathered.stems.get(stem));
        for (number, place) in places.iter().enumerate() {
            let of = stems.and_then(|stems| stems.get(number)).copied().unwrap_or(place.node);
            if of >= SEVERAL {
                if of == SEVERAL {
                    self.by_themselves(view, group, (number, place), fillings, refused);
                }
                continue;
            }
            let (mut next, mut before) = (self.arena.first_child(of), NONE);
            while next != NONE {
                let child = self.arena.node(next);
                if let Some(column) = group.place(child.name).map(|place| group.columns[place])
                    && let Some(filling) = fillings[column].get_mut(number)
                {
                    let found = if child.name == before { SEVERAL } else { next };
                    self.fill_in(&view.columns[column], place, found, refused, |found| *filling = found);
                }
                (next, before) = (child.next, child.name);
            }
        }
    }

    /// Fills in the columns of a group at a place where what they begin with leads to several elements.
    #[cold]
    fn by_themselves(
        &self,
        view: &Compiled,
        group: &Group,
        (number, place): (usize, &Place),
        fillings: &mut [Vec<Filling>],
        refused: &mut Vec<Refused>,
    ) {
        for column in &group.columns {
            if let [(_, Source { fast: Fast::Chain(chain), .. })] = &view.sources[*column][..]
                && let Some(filling) = fillings[*column].get_mut(number)
            {
                let found = chain.only(self, place.root, place.node);
                self.fill_in(&view.columns[*column], place, found, refused, |found| *filling = found);
            }
        }
    }

    /// Fills in a node, none, or several; `keep` gets what is filled in.
    // Each branch keeps its own: a filling that is made in one and kept behind all of them goes through memory.
    #[inline(always)]
    fn fill_in(
        &self,
        cell: &Cell,
        place: &Place,
        found: u32,
        refused: &mut Vec<Refused>,
        mut keep: impl FnMut(Filling),
    ) {
        if found >= SEVERAL {
            if found == SEVERAL {
                refuse(refused, place.root, several(cell));
            }
            return keep(Filling::Nothing);
        }
        match self.arena.value(found) {
            Value::Text(piece) | Value::Number(piece) if cell.scalar == Scalar::Text => keep(Filling::Text(*piece)),
            _ => keep(Filling::Node(found)),
        }
    }

    /// What a column's expression gives at a place.
    pub(crate) fn fill<'p>(
        &self,
        cell: &Cell,
        source: &'p Source,
        focus: Focus<'p>,
        items: &mut Vec<Item<'p>>,
    ) -> Result<Filling, Fail> {
        let start = items.len();
        let read = self.items(source, focus, &mut |item| {
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
