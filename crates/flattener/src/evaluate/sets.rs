//! Collections as a whole: unions and their like, sums, and what `repeat` reaches.

use std::{
    cmp::Ordering,
    collections::{HashSet, VecDeque},
};

use super::{Evaluator, Fail, Focus, Item, Visit, compare::Keep};
use crate::{
    number::Decimal,
    operation::{Fold, Operation, Sameness, Set},
};

/// Values that `repeat()` may reach: a projection that computes new ones for ever has to end.
const MOST_REPEATED: usize = 100_000;

impl Evaluator<'_> {
    fn keys(&self, of: &Operation, sameness: Sameness, focus: Focus<'_>) -> Result<HashSet<String>, Fail> {
        let mut keys = HashSet::new();
        self.each(of, focus, &mut |item| {
            keys.insert(self.key(item, Keep::Equal(sameness)));
            Ok(true)
        })?;
        Ok(keys)
    }

    pub(super) fn subset(
        &self,
        left: &Operation,
        right: &Operation,
        sameness: Sameness,
        focus: Focus<'_>,
    ) -> Result<bool, Fail> {
        let keys = self.keys(right, sameness, focus)?;
        self.each(left, focus, &mut |item| Ok(keys.contains(&self.key(item, Keep::Equal(sameness)))))
    }

    pub(super) fn set<'p>(
        &self,
        set: Set,
        left: &'p Operation,
        right: &'p Operation,
        sameness: Sameness,
        focus: Focus<'p>,
        visit: Visit<'_, 'p>,
    ) -> Result<bool, Fail> {
        if set == Set::Union {
            let mut seen = HashSet::new();
            let mut fresh = |item: Item<'p>| {
                if seen.insert(self.key(item, Keep::Equal(sameness))) { visit(item) } else { Ok(true) }
            };
            return Ok(self.each(left, focus, &mut fresh)? && self.each(right, focus, &mut fresh)?);
        }
        let others = self.keys(right, sameness, focus)?;
        let mut seen = HashSet::new();
        self.each(left, focus, &mut |item| {
            let key = self.key(item, Keep::Equal(sameness));
            let wanted = others.contains(&key) == (set == Set::Intersect);
            if wanted && (set == Set::Exclude || seen.insert(key)) { visit(item) } else { Ok(true) }
        })
    }

    pub(super) fn fold<'p>(
        &self,
        fold: Fold,
        of: &'p Operation,
        sameness: Sameness,
        focus: Focus<'p>,
        visit: Visit<'_, 'p>,
    ) -> Result<bool, Fail> {
        let mut seen = HashSet::new();
        match fold {
            Fold::Distinct => self.each(of, focus, &mut |item| {
                if seen.insert(self.key(item, Keep::Equal(sameness))) { visit(item) } else { Ok(true) }
            }),
            Fold::IsDistinct => {
                let distinct =
                    self.each(of, focus, &mut |item| Ok(seen.insert(self.key(item, Keep::Equal(sameness)))))?;
                visit(Item::Boolean(distinct))
            }
            Fold::Sum | Fold::Average => {
                let sum = self.sum(of, focus)?;
                let found = match (fold, sum) {
                    (Fold::Average, Some((sum, count))) => sum.divide(Decimal::whole(count)),
                    (_, sum) => sum.map(|(sum, _)| sum),
                };
                found.map_or(Ok(true), |number| visit(Item::Number(number)))
            }
            Fold::Least | Fold::Greatest => {
                let wanted = if fold == Fold::Least { Ordering::Less } else { Ordering::Greater };
                let (mut found, mut open) = (None::<Item<'p>>, false);
                self.each(of, focus, &mut |item| {
                    let order = match found {
                        None => Some(wanted),
                        Some(best) => self.items_order(item, best, sameness)?,
                    };
                    open |= order.is_none();
                    if order == Some(wanted) {
                        found = Some(item);
                    }
                    Ok(true)
                })?;
                found.filter(|_| !open).map_or(Ok(true), visit)
            }
        }
    }

    /// The sum and the number of the values; nothing where there are none, or the sum has too many digits.
    fn sum(&self, of: &Operation, focus: Focus<'_>) -> Result<Option<(Decimal, i64)>, Fail> {
        let (mut sum, mut count) = (Some(Decimal::whole(0)), 0);
        self.each(of, focus, &mut |item| {
            let number = self.number(item).ok_or_else(|| Fail::misfit("sum() and avg() take numbers"))?;
            sum = sum.and_then(|sum| sum.add(number, false));
            count += 1;
            Ok(true)
        })?;
        Ok(sum.filter(|_| count > 0).map(|sum| (sum, count)))
    }

    /// What the projection gives of each value, and of each of those; of equal ones the first (FHIRPath N1, 5.2.3).
    pub(super) fn repeated<'p>(
        &self,
        of: &'p Operation,
        projection: &'p Operation,
        focus: Focus<'p>,
        visit: Visit<'_, 'p>,
    ) -> Result<bool, Fail> {
        let (mut seen, mut waiting) = (HashSet::new(), VecDeque::new());
        self.each(of, focus, &mut |item| {
            waiting.push_back(item);
            Ok(true)
        })?;
        while let Some(from) = waiting.pop_front() {
            let go_on = self.each(projection, focus.within(from, 0), &mut |item| {
                if !seen.insert(self.key(item, Keep::Equal(Sameness::Plain))) {
                    return Ok(true);
                }
                if seen.len() > MOST_REPEATED {
                    return Err(Fail::new(format!("repeat() reaches more than {MOST_REPEATED} values")));
                }
                waiting.push_back(item);
                visit(item)
            })?;
            if !go_on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
