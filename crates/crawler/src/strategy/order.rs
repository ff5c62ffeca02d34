//! In which order the types of a crawl are asked: a type that hangs on another comes after it, and what is read by
//! reference comes when everything that may refer to it is there.

use super::Strategy;
use crate::engine::ResourcePlan;

/// The places of the plans, in levels: each needs only what the levels before it have brought. Plans whose source is
/// missing, or that wait for each other, come last, in a level of their own.
pub(crate) fn levels(plans: &[ResourcePlan]) -> Vec<Vec<usize>> {
    let reads = |plan: &ResourcePlan| plan.strategy == Strategy::IdRead;
    let mut left: Vec<usize> = (0..plans.len()).collect();
    let mut levels: Vec<Vec<usize>> = Vec::new();
    while !left.is_empty() {
        let waits_for = |place: &usize, name: &str| plans[*place].resource_type == name && left.contains(place);
        let (mut ready, waiting): (Vec<usize>, Vec<usize>) = left.iter().partition(|place| {
            let plan = &plans[**place];
            !reads(plan) && plan.strategy.source().is_none_or(|from| !(0..plans.len()).any(|one| waits_for(&one, from)))
        });
        let mut rest = waiting;
        if ready.is_empty() {
            // Only reads, and what hangs on them or on itself.
            (ready, rest) = rest.into_iter().partition(|place| reads(&plans[*place]));
        }
        if ready.is_empty() {
            levels.push(rest);
            break;
        }
        levels.push(ready);
        left = rest;
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, strategy: Strategy) -> ResourcePlan {
        ResourcePlan { strategy, ..ResourcePlan::new(name) }
    }

    fn chain(from: &str) -> Strategy {
        Strategy::IdChain { param: "p".into(), from: from.into(), batch: 1, as_reference: false }
    }

    #[test]
    fn what_hangs_on_another_comes_after_it() {
        let plans = [
            plan("Role", chain("Practitioner")),
            plan("Organization", Strategy::IdRead),
            plan("Practitioner", Strategy::Bare),
            plan("Endpoint", chain("Organization")),
            plan("Location", Strategy::IncludedBy { from: "Role".into() }),
        ];
        assert_eq!(levels(&plans), [vec![2], vec![0], vec![4], vec![1], vec![3]]);
        let circle = [plan("A", chain("B")), plan("B", chain("A")), plan("C", Strategy::Bare)];
        assert_eq!(levels(&circle), [vec![2], vec![0, 1]]);
        assert_eq!(levels(&[plan("A", chain("Nobody"))]), [vec![0]]);
        assert!(levels(&[]).is_empty());
    }
}
