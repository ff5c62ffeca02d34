//! Which rows resources give in a table: the places where its columns are evaluated, and how rows are made of them.

use crate::{
    arena::{NONE, bit},
    chain::Chain,
    evaluate::{Evaluator, Fail, Focus, Item},
    operation::Operation,
    plan::{Compiled, Fast, Level, Rows, Source, Start, Stem, Walk},
};

/// Rows that one resource may give in one table. A cross product of hostile lists must not take the memory.
const MOST_ROWS: usize = 1_000_000;

/// Steps of `repeat` within each other: the JSON parser stops at 128 levels, so only a path that stands still gets there.
const DEEPEST_REPEAT: usize = 128;

/// One place of a walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The element; [`NONE`] where the place is none.
    pub(crate) node: u32,
    /// The resource's node.
    pub(crate) root: u32,
    /// `%rowIndex`.
    pub(crate) row_index: u32,
    /// The number of the value that is no element; [`NONE`] where there is none, [`LOST`] where it cannot be told.
    value: u32,
}

/// Stands for a value that cannot be told.
const LOST: u32 = NONE - 1;

impl Place {
    /// Whether it is an element, or none.
    pub(crate) fn is_plain(&self) -> bool {
        self.value == NONE
    }
}

/// The rows of some resources: for each walk of the view its places, and for each row the place in each walk. A column is
/// evaluated once for each place, however many rows have it.
#[derive(Debug, Default)]
pub(crate) struct Gathered<'p> {
    pub(crate) walks: Vec<Vec<Place>>,
    /// Values of places that are no elements.
    values: Vec<Item<'p>>,
    /// Row after row, the number of the place in each walk; [`NONE`] in the walks of a union's other branches.
    pub(crate) rows: Vec<u32>,
    /// The row that is being made.
    row: Vec<u32>,
    /// Whether the value of some place cannot be told.
    has_lost: bool,
    /// For each walk the names among the children of its places, as [`Node::names`](crate::arena::Node::names).
    names: Vec<u64>,
    /// For each stem of the view, and each place of its walk, the node that it leads to; [`NONE`], or
    /// [`SEVERAL`](crate::arena::SEVERAL).
    pub(crate) stems: Vec<Vec<u32>>,
}

/// How the places of a walk are spread over the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Each place is one row.
    Each,
    /// Runs of rows have one place.
    Runs,
}

impl<'p> Gathered<'p> {
    /// Makes it empty, for a view.
    pub(crate) fn begin(&mut self, walks: usize) {
        self.walks.resize(walks.max(self.walks.len()), Vec::new());
        self.walks.iter_mut().for_each(Vec::clear);
        self.values.clear();
        self.rows.clear();
        self.row.clear();
        self.row.resize(walks, NONE);
        self.has_lost = false;
    }

    /// The memory alone, for the values of another plan's lifetime: collecting nothing in place keeps it.
    pub(crate) fn recycled<'q>(mut self) -> Gathered<'q> {
        self.begin(0);
        let values = self.values.into_iter().map_while(|_| None).collect();
        let Self { walks, rows, row, names, stems, .. } = self;
        Gathered { walks, values, rows, row, has_lost: false, names, stems }
    }

    /// The number of walks.
    pub(crate) fn width(&self) -> usize {
        self.row.len().max(1)
    }

    /// Where a path of a column begins.
    pub(crate) fn focus(&self, place: &Place) -> Focus<'p> {
        let item = match (place.node, place.value) {
            (NONE, LOST) => return Focus::lost(place.row_index, place.root),
            (NONE, value) => self.values.get(value as usize).copied(),
            (node, _) => Some(Item::Node(node)),
        };
        Focus::new(item, place.row_index, place.root)
    }

    /// Notes which names the places have.
    pub(crate) fn note_names(&mut self, evaluator: &Evaluator<'_>) {
        self.names.clear();
        let of = |place: &Place| match (place.node, place.value) {
            (NONE, NONE) => 0,
            // A value that is no node: nobody knows.
            (NONE, _) => u64::MAX,
            (node, _) => evaluator.arena.node(node).names,
        };
        self.names.extend(self.walks.iter().map(|places| places.iter().fold(0, |names, place| names | of(place))));
    }

    /// Follows the stems of a view from all places. Not where values are not what R4 has there.
    pub(crate) fn follow(&mut self, evaluator: &Evaluator<'_>, stems: &[Stem]) {
        let mut followed = std::mem::take(&mut self.stems);
        followed.resize(stems.len().max(followed.len()), Vec::new());
        for (stem, nodes) in stems.iter().zip(&mut followed) {
            let places = &self.walks[stem.walk];
            nodes.clear();
            if self.lacks(stem.walk, stem.needs) {
                nodes.resize(places.len(), NONE);
            } else {
                nodes.extend(places.iter().map(|place| stem.chain.only(evaluator, place.root, place.node)));
            }
        }
        self.stems = followed;
    }

    /// Whether every value is what R4 has there, so that fast forms give what the expressions give.
    pub(crate) fn is_plain(&self, evaluator: &Evaluator<'_>) -> bool {
        !self.has_lost && !evaluator.arena.has_odd()
    }

    /// Whether what needs a name finds nothing at any place of a walk, as far as the names tell. Not where values are not what R4
    /// has there.
    pub(crate) fn lacks(&self, walk: usize, needs: Option<(Start, u32)>) -> bool {
        let Some((start, name)) = needs else { return false };
        let walk = if start == Start::Resource { 0 } else { walk };
        self.names.get(walk).is_some_and(|names| names & bit(name) == 0)
    }

    /// How the places of a walk are spread over the rows: each place once, in order, or runs of rows with one place.
    pub(crate) fn runs(&self, walk: usize, runs: &mut Vec<(u32, u32)>) -> Spread {
        runs.clear();
        let mut each = true;
        for place in self.rows.chunks_exact(self.width()).map(|row| row[walk]) {
            match runs.last_mut() {
                Some((last, rows)) if *last == place => {
                    *rows += 1;
                    each = false;
                }
                _ => {
                    each &= place as usize == runs.len();
                    runs.push((place, 1));
                }
            }
        }
        if each && runs.len() == self.walks[walk].len() { Spread::Each } else { Spread::Runs }
    }

    /// Takes rows back, up to so many numbers.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.rows.truncate(rows);
        self.row.fill(NONE);
    }

    fn place(&mut self, walk: usize, focus: Focus<'p>) {
        let (node, value) = match focus.item {
            Some(Item::Node(node)) => (node, NONE),
            Some(item) => {
                self.values.push(item);
                (NONE, number(self.values.len() - 1))
            }
            None if focus.is_lost() => {
                self.has_lost = true;
                (NONE, LOST)
            }
            None => (NONE, NONE),
        };
        let places = &mut self.walks[walk];
        self.row[walk] = number(places.len());
        places.push(Place { node, root: focus.root(), row_index: focus.row_index(), value });
    }
}

/// A number of what is limited by the rows. Beyond 4 thousand million there is no memory for them either.
pub(crate) fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(NONE)
}

/// What still has to find its place in a row: selects, then one of the union's branches, then the rest.
#[derive(Clone, Copy)]
struct Parts<'r, 'p> {
    selects: &'p [Rows],
    unions: &'p [Rows],
    focus: Focus<'p>,
    rest: Option<&'r Parts<'r, 'p>>,
    /// Rows before those of this resource, times the walks.
    before: usize,
}

impl Parts<'_, '_> {
    /// Whether nothing is left to find a place for.
    fn is_over(&self) -> bool {
        self.selects.is_empty() && self.unions.is_empty() && self.rest.is_none_or(Parts::is_over)
    }
}

fn node_of(focus: Focus<'_>) -> u32 {
    if let Some(Item::Node(node)) = focus.item { node } else { NONE }
}

fn too_many() -> Result<(), Fail> {
    Err(Fail::new(format!("more than {MOST_ROWS} rows from one resource")))
}

/// The rows of one resource, where iterations stand within each other only.
struct Nest<'g, 'p> {
    root: u32,
    /// `%rowIndex`.
    row_index: u32,
    /// As [`Parts::before`].
    before: usize,
    gathered: &'g mut Gathered<'p>,
}

impl Nest<'_, '_> {
    #[inline]
    fn place(&mut self, walk: usize, node: u32) {
        let places = &mut self.gathered.walks[walk];
        self.gathered.row[walk] = number(places.len());
        places.push(Place { node, root: self.root, row_index: self.row_index, value: NONE });
    }

    /// Whether the rows of what is within a node are not too many.
    fn within(&mut self, evaluator: &Evaluator<'_>, levels: &[Level], node: u32) -> bool {
        match levels.split_first() {
            Some((level, levels)) => {
                let Level { walk, chain, or_null } = level;
                self.iterate(evaluator, *walk, (chain, *or_null), node, |nest, node| {
                    nest.within(evaluator, levels, node)
                })
            }
            None => self.row(),
        }
    }

    /// The row of the places that were taken.
    #[inline]
    fn row(&mut self) -> bool {
        // Two or three numbers: less than a call to copy them.
        self.gathered.rows.extend(self.gathered.row.iter().copied());
        true
    }

    /// Takes a place in a walk for each node that a chain leads to; `each` makes the rows of what is within it. Whether these
    /// are not too many.
    #[inline(always)]
    fn iterate(
        &mut self,
        evaluator: &Evaluator<'_>,
        walk: usize,
        (chain, or_null): (&Chain, bool),
        node: u32,
        mut each: impl FnMut(&mut Self, u32) -> bool,
    ) -> bool {
        let (root, mut found, mut few) = (self.root, 0, true);
        let mut visit = |node| {
            self.row_index = found;
            self.place(walk, node);
            few = few && each(self, node);
            found += 1;
        };
        match chain.field() {
            // What most iterations go over.
            Some(name) if node != NONE => evaluator.arena.each(node, name, visit),
            Some(_) => {}
            None => chain.each(evaluator, (root, node), &mut visit),
        }
        if found == 0 && or_null {
            self.row_index = 0;
            self.place(walk, NONE);
            few = each(self, NONE);
        }
        self.gathered.row[walk] = NONE;
        few && (self.gathered.rows.len() - self.before) / self.gathered.row.len().max(1) <= MOST_ROWS
    }
}

impl Evaluator<'_> {
    /// Gathers the rows of a resource; none where a filter leaves it out. Whether all filters could tell: where one meets a
    /// value of another JSON type the resource stays.
    pub(crate) fn rows<'p>(&self, view: &'p Compiled, root: u32, gathered: &mut Gathered<'p>) -> Result<bool, Fail> {
        let focus = Focus::new(Some(Item::Node(root)), 0, root);
        let mut judged = true;
        for (filter, known) in &view.filters {
            match self.single(filter, focus, "where") {
                Err(fail) if fail.misfit => judged = false,
                Err(fail) => return Err(fail),
                Ok(None) => return Ok(judged),
                Ok(Some(item)) => match self.boolean(item) {
                    Some(true) => {}
                    Some(false) => return Ok(judged),
                    None if *known => judged = false,
                    None => return Err(Fail::new("where gives a value that is neither true nor false")),
                },
            }
        }
        let before = gathered.rows.len();
        if let (Some(levels), false) = (&view.nest, self.arena.has_odd()) {
            let mut nest = Nest { root, row_index: 0, before, gathered };
            nest.place(0, root);
            return if nest.within(self, levels, root) { Ok(judged) } else { too_many().map(|()| judged) };
        }
        gathered.place(0, focus);
        self.product(&Parts { selects: &view.selects, unions: &[], focus, rest: None, before }, gathered)?;
        Ok(judged)
    }

    /// The rows of all parts crossed with each other: one part after the other takes its place in the row, and the last
    /// one keeps it.
    fn product<'p>(&self, parts: &Parts<'_, 'p>, gathered: &mut Gathered<'p>) -> Result<(), Fail> {
        if let Some((select, selects)) = parts.selects.split_first() {
            return self.select(select, parts.focus, &Parts { selects, ..*parts }, gathered);
        }
        if !parts.unions.is_empty() {
            for branch in parts.unions {
                self.select(branch, parts.focus, &Parts { unions: &[], ..*parts }, gathered)?;
            }
            return Ok(());
        }
        if let Some(rest) = parts.rest {
            return self.product(rest, gathered);
        }
        if (gathered.rows.len() - parts.before) / gathered.row.len().max(1) >= MOST_ROWS {
            return too_many();
        }
        gathered.rows.extend_from_slice(&gathered.row);
        Ok(())
    }

    fn select<'p>(
        &self,
        select: &'p Rows,
        focus: Focus<'p>,
        rest: &Parts<'_, 'p>,
        gathered: &mut Gathered<'p>,
    ) -> Result<(), Fail> {
        let Some(walk) = &select.iteration else { return self.place(select, focus, rest, gathered) };
        if let Walk::Each(source, or_null) = walk
            && let (Fast::Chain(chain), true) = (self.fast(source, focus), select.is_leaf() && rest.is_over())
        {
            // The last one of most views: its places.
            let mut nest = Nest { root: focus.root(), row_index: 0, before: rest.before, gathered };
            let few = nest.iterate(self, select.walk, (chain, *or_null), node_of(focus), |nest, _| nest.row());
            return if few { Ok(()) } else { too_many() };
        }
        let (begin, mut row_index) = (gathered.rows.len(), 0);
        let walked = self.walk(walk, focus, &mut |item| {
            let inner = Focus::new(Some(item), row_index, focus.root());
            row_index += 1;
            self.place(select, inner, rest, gathered)
        });
        match walked {
            Err(fail) if fail.misfit => {
                gathered.rows.truncate(begin);
                // This walk and those after it have no place yet: they are numbered in the order in which they take one.
                gathered.row[select.walk..].fill(NONE);
                return self.select_again(select, focus, rest, gathered);
            }
            walked => walked?,
        }
        if row_index == 0 && matches!(walk, Walk::Each(_, true)) {
            self.place(select, Focus::new(None, 0, focus.root()), rest, gathered)?;
        }
        Ok(())
    }

    /// The rows of a select whose path met values of another JSON type than R4's. None is lost: each of these stands for a
    /// row, in which what depends on it is null and counted (decision 080).
    fn select_again<'p>(
        &self,
        select: &'p Rows,
        focus: Focus<'p>,
        rest: &Parts<'_, 'p>,
        gathered: &mut Gathered<'p>,
    ) -> Result<(), Fail> {
        let Some(walk) = &select.iteration else { return Ok(()) };
        let mut found = Vec::new();
        let outside = self.passed_over.replace(Some(0));
        let walked = self.walk(walk, focus, &mut |item| {
            found.push(item);
            Ok(())
        });
        let walked = walked.or_else(|fail| self.pass_over(fail));
        let passed_over = self.passed_over.replace(outside).unwrap_or(0);
        walked?;
        let root = focus.root();
        let known = found.into_iter().map(|item| Focus::new(Some(item), 0, root));
        let all = known.chain((0..passed_over).map(|_| Focus::lost(0, root)));
        for (row_index, inner) in (0..).zip(all) {
            self.place(select, inner.numbered(row_index), rest, gathered)?;
        }
        Ok(())
    }

    /// Hands on what a select iterates over.
    fn walk<'p>(
        &self,
        walk: &'p Walk,
        focus: Focus<'p>,
        visit: &mut dyn FnMut(Item<'p>) -> Result<(), Fail>,
    ) -> Result<(), Fail> {
        match walk {
            Walk::Each(path, _) => self.items(path, focus, &mut |item| visit(item).map(|()| true)),
            Walk::Repeat(paths, objects) => self.repeat(paths, *objects, focus, 0, visit),
        }
    }

    /// Takes a place of a select's walk, and goes on to what is within it.
    fn place<'p>(
        &self,
        select: &'p Rows,
        focus: Focus<'p>,
        rest: &Parts<'_, 'p>,
        gathered: &mut Gathered<'p>,
    ) -> Result<(), Fail> {
        if select.own {
            gathered.place(select.walk, focus);
        }
        if select.is_leaf() {
            self.product(rest, gathered)?;
        } else {
            let inner = Parts { selects: &select.selects, unions: &select.unions, focus, rest: Some(rest), ..*rest };
            self.product(&inner, gathered)?;
        }
        if select.own {
            gathered.row[select.walk] = NONE;
        }
        Ok(())
    }

    /// The fast form of an expression, where it gives what the expression gives.
    #[inline]
    fn fast<'p>(&self, source: &'p Source, focus: Focus<'p>) -> &'p Fast {
        if self.arena.has_odd() || focus.is_lost() { &Fast::None } else { &source.fast }
    }

    /// Hands on each value of a source.
    pub(crate) fn items<'p>(
        &self,
        source: &'p Source,
        focus: Focus<'p>,
        visit: &mut impl FnMut(Item<'p>) -> Result<bool, Fail>,
    ) -> Result<(), Fail> {
        let mut result = Ok(());
        let from = (focus.root(), node_of(focus));
        match self.fast(source, focus) {
            Fast::Chain(chain) => chain.each(self, from, &mut |node| {
                if result.is_ok() {
                    result = visit(Item::Node(node)).map(|_| ());
                }
            }),
            Fast::Keys(chain, reference, of_type) => chain.each(self, from, &mut |node| {
                let mut next = self.arena.first(node, *reference);
                while next != NONE && self.arena.node(next).name == *reference {
                    let key = self.reference_key(Item::Node(next), of_type.as_deref());
                    if let (Some(key), true) = (key, result.is_ok()) {
                        result = visit(key).map(|_| ());
                    }
                    next = self.arena.node(next).next;
                }
            }),
            Fast::None => return self.each(&source.operation, focus, visit).map(|_| ()),
        }
        result
    }

    /// The values of the paths, each followed by what the paths lead to from there (SQL on FHIR v2, `repeat`).
    fn repeat<'p>(
        &self,
        paths: &'p [Operation],
        objects: bool,
        focus: Focus<'p>,
        depth: usize,
        visit: &mut dyn FnMut(Item<'p>) -> Result<(), Fail>,
    ) -> Result<(), Fail> {
        if depth > DEEPEST_REPEAT {
            return Err(Fail::new(format!("repeat goes deeper than {DEEPEST_REPEAT} steps")));
        }
        for path in paths {
            let walked = self.each(path, focus, &mut |item| {
                if objects && !self.is_object(item) {
                    self.pass_over(Fail::misfit("repeat reaches a plain value where R4 has an element with parts"))?;
                    return Ok(true);
                }
                visit(item)?;
                self.repeat(paths, objects, focus.at(item), depth + 1, visit)?;
                Ok(true)
            });
            walked.map(|_| ()).or_else(|fail| self.pass_over(fail))?;
        }
        Ok(())
    }
}
