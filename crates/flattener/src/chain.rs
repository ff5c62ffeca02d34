//! The paths that nearly every column is: fields of fields, the first of them, those with a certain system or url. They
//! give what [`Evaluator::each`] gives, without a closure for each step.

use crate::{
    arena::{NONE, SEVERAL, Value},
    evaluate::Evaluator,
    expression::Operator,
    operation::{Operation, Sameness},
};

/// Steps from the focus, or from the resource.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chain {
    from_root: bool,
    /// Each of these leads from one node to the first that it reaches.
    firsts: Vec<Vec<Step>>,
    /// These lead from there to all that they reach.
    all: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// The fields of one name.
    Child(u32),
    /// Those whose only field of a name has a text.
    Only(u32, String),
    /// Those whose first field of a name has a text.
    Url(u32, String),
}

impl Chain {
    /// An operation as a chain, if it is one.
    pub(crate) fn of(operation: &Operation) -> Option<Self> {
        match operation {
            Operation::This => Some(Self { from_root: false, firsts: Vec::new(), all: Vec::new() }),
            Operation::Root => Some(Self { from_root: true, firsts: Vec::new(), all: Vec::new() }),
            Operation::Child(of, name) => Some(Self::of(of)?.and([Step::Child(*name)])),
            Operation::First(of) => {
                let mut chain = Self::of(of)?;
                chain.firsts.push(std::mem::take(&mut chain.all));
                Some(chain)
            }
            Operation::Extension { of, extension, url, wanted } => {
                Some(Self::of(of)?.and([Step::Child(*extension), Step::Url(*url, wanted.clone())]))
            }
            Operation::Where(of, condition) => {
                let Operation::Binary(Operator::Equal, left, right, Sameness::Plain) = &**condition else {
                    return None;
                };
                let (Operation::Child(this, name), Operation::Text(wanted)) = (&**left, &**right) else { return None };
                matches!(**this, Operation::This).then_some(())?;
                Some(Self::of(of)?.and([Step::Only(*name, wanted.clone())]))
            }
            _ => None,
        }
    }

    fn and<const N: usize>(mut self, steps: [Step; N]) -> Self {
        self.all.extend(steps);
        self
    }

    /// Whether it is `$this`: the focus may be a value that is no node.
    pub(crate) fn is_this(&self) -> bool {
        !self.from_root && self.firsts.is_empty() && self.all.is_empty()
    }

    /// The name of the field of the focus that it is, if it is one: what most columns are.
    pub(crate) fn field(&self) -> Option<u32> {
        match (&self.all[..], self.from_root || !self.firsts.is_empty()) {
            ([Step::Child(name)], false) => Some(*name),
            _ => None,
        }
    }

    /// Hands on the names of the fields whose texts it compares.
    pub(crate) fn compared(&self, mut visit: impl FnMut(u32)) {
        for step in self.firsts.iter().flatten().chain(&self.all) {
            if let Step::Only(name, _) | Step::Url(name, _) = step {
                visit(*name);
            }
        }
    }

    /// What stands before the last step, if that is a field, and its name; nothing where that is the focus.
    pub(crate) fn stem(&self) -> Option<(Self, u32)> {
        let mut stem = self.clone();
        let Some(Step::Child(name)) = stem.all.pop() else { return None };
        (!stem.is_this()).then_some((stem, name))
    }

    /// Hands on each node that is reached from a node of a resource; from none where the chain does not begin at the
    /// resource.
    pub(crate) fn each(&self, evaluator: &Evaluator<'_>, (root, node): (u32, u32), visit: &mut impl FnMut(u32)) {
        let node = self.begin(evaluator, root, node);
        if node != NONE {
            each(evaluator, &self.all, node, visit);
        }
    }

    /// The only node that is reached; [`NONE`] for none, [`SEVERAL`] for more.
    #[inline]
    pub(crate) fn only(&self, evaluator: &Evaluator<'_>, root: u32, node: u32) -> u32 {
        let node = self.begin(evaluator, root, node);
        if node == NONE {
            return NONE;
        }
        if let [Step::Child(name)] = &self.all[..] {
            return evaluator.arena.only(node, *name);
        }
        let mut only = NONE;
        each(evaluator, &self.all, node, &mut |found| only = if only == NONE { found } else { SEVERAL });
        only
    }

    /// Where the last steps begin.
    #[inline]
    fn begin(&self, evaluator: &Evaluator<'_>, root: u32, node: u32) -> u32 {
        let mut node = if self.from_root { root } else { node };
        for steps in &self.firsts {
            if node == NONE {
                return NONE;
            }
            node = first(evaluator, steps, node).unwrap_or(NONE);
        }
        node
    }
}

/// The first node that the steps reach.
fn first(evaluator: &Evaluator<'_>, steps: &[Step], node: u32) -> Option<u32> {
    let Some((step, rest)) = steps.split_first() else { return Some(node) };
    let Step::Child(name) = step else {
        return if passes(evaluator, step, node) { first(evaluator, rest, node) } else { None };
    };
    let mut next = evaluator.arena.first(node, *name);
    while next != NONE {
        let found = evaluator.arena.node(next);
        if found.name != *name {
            break;
        }
        let reached = if rest.is_empty() { Some(next) } else { first(evaluator, rest, next) };
        if reached.is_some() {
            return reached;
        }
        next = found.next;
    }
    None
}

/// Every node that the steps reach.
fn each(evaluator: &Evaluator<'_>, steps: &[Step], node: u32, visit: &mut impl FnMut(u32)) {
    let Some((step, rest)) = steps.split_first() else { return visit(node) };
    let Step::Child(name) = step else {
        if passes(evaluator, step, node) {
            each(evaluator, rest, node, visit);
        }
        return;
    };
    let mut next = evaluator.arena.first(node, *name);
    while next != NONE {
        let found = evaluator.arena.node(next);
        if found.name != *name {
            break;
        }
        if rest.is_empty() {
            visit(next);
        } else {
            each(evaluator, rest, next, visit);
        }
        next = found.next;
    }
}

#[inline]
fn passes(evaluator: &Evaluator<'_>, step: &Step, node: u32) -> bool {
    let (Step::Only(name, wanted) | Step::Url(name, wanted)) = step else { return true };
    let first = evaluator.arena.first(node, *name);
    if first == NONE {
        return false;
    }
    let child = evaluator.arena.node(first);
    let alone = child.next == NONE || evaluator.arena.node(child.next).name != *name;
    let (Value::Text(piece), true) = (child.value, alone || matches!(step, Step::Url(..))) else { return false };
    evaluator.arena.text(piece) == wanted
}
