//! The order of a node's runs, as far as it was told. Epochs are random and say nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use reading::Epoch;

/// Runs of one node, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    runs: Vec<Epoch>,
    positions: BTreeMap<Epoch, usize>,
    /// The run before each, as far as the node itself said.
    before: BTreeMap<Epoch, Epoch>,
}

impl Succession {
    /// Where a run stands; one that nobody told of comes after all others.
    pub(crate) fn position(&self, epoch: &Epoch) -> usize {
        self.positions.get(epoch).copied().unwrap_or(usize::MAX)
    }

    pub(crate) fn newest(&self) -> Option<Epoch> {
        self.runs.last().copied()
    }

    /// A run was heard of. One that is new is the newest, unless more is told.
    pub(crate) fn heard(&mut self, epoch: Epoch) {
        if !self.positions.contains_key(&epoch) {
            self.positions.insert(epoch, self.runs.len());
            self.runs.push(epoch);
        }
    }

    /// The node itself says which run came before.
    pub(crate) fn follows(&mut self, previous: Epoch, next: Epoch) {
        if previous == next {
            return;
        }
        self.heard(next);
        self.before.insert(next, previous);
        if !self.positions.contains_key(&previous) || self.position(&previous) > self.position(&next) {
            // What came before it, by the node's word, comes with it.
            let (mut chain, mut moved) = (Vec::new(), BTreeSet::from([next]));
            let mut run = Some(previous);
            while let Some(epoch) = run.filter(|epoch| moved.insert(*epoch)) {
                chain.push(epoch);
                run = self.before.get(&epoch).filter(|before| self.positions.contains_key(*before)).copied();
            }
            self.runs.retain(|run| *run == next || !moved.contains(run));
            let at = self.runs.iter().position(|run| *run == next).unwrap_or(self.runs.len());
            self.runs.splice(at..at, chain.into_iter().rev());
            self.number();
        }
    }

    /// A holder tells its runs, the oldest first. The node's own word changes the order; others only add to it, each new run behind the one
    /// that they name before it.
    pub(crate) fn told(&mut self, runs: &[Epoch], by_author: bool) {
        if by_author {
            self.sort(runs);
        }
        let is_known = |run: &&Epoch| self.positions.contains_key(*run);
        let first_known = runs.iter().find(is_known).copied();
        let (mut news, mut behind) = (BTreeSet::new(), BTreeMap::<Option<Epoch>, Vec<Epoch>>::new());
        let mut anchor = None;
        for run in runs {
            if is_known(&run) {
                anchor = Some(*run);
            } else if news.insert(*run) {
                behind.entry(anchor).or_default().push(*run);
            }
        }
        if news.is_empty() {
            return;
        }
        let mut before_all = behind.remove(&None).unwrap_or_default();
        let mut merged = Vec::with_capacity(self.runs.len() + news.len());
        for run in std::mem::take(&mut self.runs) {
            if Some(run) == first_known {
                merged.append(&mut before_all);
            }
            merged.push(run);
            merged.extend(behind.remove(&Some(run)).unwrap_or_default());
        }
        merged.append(&mut before_all);
        self.runs = merged;
        self.number();
    }

    /// Forgets all runs but these.
    pub(crate) fn keep(&mut self, runs: &BTreeSet<Epoch>) {
        self.runs.retain(|run| runs.contains(run));
        self.before.retain(|run, _| runs.contains(run));
        self.number();
    }

    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Puts those of `runs` that are known into that order, on the places that they have.
    fn sort(&mut self, runs: &[Epoch]) {
        let mut seen = BTreeSet::new();
        let known = runs.iter().copied().filter(|run| self.positions.contains_key(run) && seen.insert(*run));
        let known: Vec<Epoch> = known.collect();
        let mut places: Vec<usize> = known.iter().map(|run| self.position(run)).collect();
        places.sort_unstable();
        for (place, run) in places.into_iter().zip(known) {
            if let Some(slot) = self.runs.get_mut(place) {
                *slot = run;
            }
        }
        self.number();
    }

    fn number(&mut self) {
        self.positions = self.runs.iter().enumerate().map(|(position, run)| (*run, position)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(text: &str) -> Vec<Epoch> {
        text.bytes().map(|letter| Epoch([letter; 8])).collect()
    }

    fn told(succession: &Succession) -> String {
        succession.runs.iter().map(|run| char::from(run.0[0])).collect()
    }

    #[test]
    fn what_several_holders_tell_makes_one_order() {
        let mut succession = Succession::default();
        succession.told(&runs("bd"), false);
        succession.told(&runs("abcde"), false);
        assert_eq!(told(&succession), "abcde");
        succession.heard(runs("f")[0]);
        succession.told(&runs("xc"), false);
        assert_eq!(told(&succession), "abxcdef");
        assert_eq!((succession.position(&runs("c")[0]), succession.position(&runs("z")[0])), (3, usize::MAX));
    }

    #[test]
    fn the_nodes_own_word_stands() {
        let mut succession = Succession::default();
        succession.told(&runs("dcba"), false);
        succession.told(&runs("abcde"), true);
        assert_eq!(told(&succession), "abcde");
        succession.told(&runs("edcba"), false);
        assert_eq!(told(&succession), "abcde");
        succession.follows(runs("g")[0], runs("h")[0]);
        succession.follows(runs("e")[0], runs("g")[0]);
        assert_eq!(told(&succession), "abcdegh");
        succession.follows(runs("h")[0], runs("g")[0]);
        assert_eq!(told(&succession), "abcdehg");
        succession.keep(&runs("gb").into_iter().collect());
        assert_eq!(told(&succession), "bg");
    }

    /// Every order of these.
    fn permutations(things: &[usize]) -> Vec<Vec<usize>> {
        if things.is_empty() {
            return vec![Vec::new()];
        }
        let first = |at: usize| {
            let mut rest = things.to_vec();
            let first = rest.remove(at);
            permutations(&rest).into_iter().map(move |order| [&[first], &order[..]].concat())
        };
        (0..things.len()).flat_map(first).collect()
    }

    #[test]
    fn the_nodes_words_make_one_order_in_whatever_order_they_come() {
        let all = runs("abcde");
        for heard in permutations(&[0, 1, 2, 3, 4]) {
            for links in permutations(&[0, 1, 2, 3]) {
                let mut succession = Succession::default();
                heard.iter().for_each(|run| succession.heard(all[*run]));
                links.iter().for_each(|link| succession.follows(all[*link], all[link + 1]));
                assert_eq!(told(&succession), "abcde", "{heard:?}, {links:?}");
            }
        }
    }

    #[test]
    fn a_list_that_names_a_run_twice_is_no_trap() {
        let mut succession = Succession::default();
        succession.told(&runs("aab"), true);
        succession.told(&runs("baab"), true);
        let mut all = succession.runs.clone();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), succession.len());
    }
}
