//! What is missing of nodes' frames, and of whom nobody knows what there is: as `sub` and `export` say it at their end.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use mesh::{Account, Replay};
use reading::{Epoch, NodeId};

/// Ranges and nodes that are told one by one; of more it is told how many.
const MAX_TOLD: usize = 20;
/// What is said where there is nothing to say.
pub const NOTHING: &str = "nothing is known to be missing";

/// What did not come out of the mesh.
#[derive(Debug, Default)]
pub struct Missing {
    /// What came and did not come of each node.
    pub accounts: Vec<(NodeId, Account)>,
    /// Nodes that could not be asked themselves: only they know what there is of them.
    pub unconfirmed: Vec<String>,
    /// Nodes beyond those that one program can follow.
    pub nodes_left_out: u64,
}

impl Missing {
    /// What is missing of everything that a replay wants.
    pub fn of(replay: &Replay) -> Self {
        let accounts: Vec<_> = replay.accounts().collect();
        let unconfirmed = accounts.iter().filter(|(_, account)| !account.confirmed).map(|(node, _)| {
            let latest = replay.directory().latest(node);
            latest.map_or_else(|| node.to_string(), |latest| format!("{} {node}", latest.place))
        });
        Self { unconfirmed: unconfirmed.collect(), accounts, nodes_left_out: replay.nodes_left_out() }
    }

    /// As it is for whoever has had enough: what had not come yet is not missing, but what was passed over.
    pub fn passed_over(mut self) -> Self {
        self.unconfirmed.clear();
        for (_, Account { missing, last, .. }) in &mut self.accounts {
            missing.retain(|(epoch, seqs)| last.is_some_and(|(run, seq)| run == *epoch && *seqs.end() < seq));
        }
        self
    }

    /// Without the ranges that were told already, or are not wanted.
    pub fn without(mut self, is_told: impl Fn(&NodeId, &Epoch, &RangeInclusive<u64>) -> bool) -> Self {
        for (node, account) in &mut self.accounts {
            account.missing.retain(|(epoch, seqs)| !is_told(node, epoch, seqs));
        }
        self
    }

    /// Parts of a sentence, one for each way in which something is missing, or may be; none where all is there.
    pub fn words(&self) -> Vec<String> {
        let [mut missing, mut dropped, mut lost] = [const { Ranges::new() }; 3];
        for (node, account) in &self.accounts {
            account.missing.iter().for_each(|(epoch, seqs)| missing.add(*node, *epoch, seqs));
            for gone in &account.gone {
                let ranges = if gone.by_retention { &mut dropped } else { &mut lost };
                ranges.add(*node, gone.epoch, &gone.seqs);
            }
        }
        let kinds = [(missing, "missing"), (dropped, "no longer kept by their node"), (lost, "lost by their node")];
        let mut words: Vec<String> = kinds.into_iter().filter_map(|(ranges, what)| ranges.words(what)).collect();
        let given_up: u64 = self.accounts.iter().map(|(_, account)| account.given_up).sum();
        if given_up > 0 {
            words.push(format!("{given_up} given up among too many holes"));
        }
        if self.nodes_left_out > 0 {
            words.push(format!("{} more than one program can follow", count(self.nodes_left_out, "node")));
        }
        if !self.unconfirmed.is_empty() {
            let nodes = self.unconfirmed.len();
            words.push(format!(
                "not confirmed: {} could not be asked {} ({}), so that more may be missing",
                count(nodes as u64, "node"),
                if nodes == 1 { "itself" } else { "themselves" },
                list(self.unconfirmed.iter().take(MAX_TOLD).cloned().collect(), nodes, "nodes")
            ));
        }
        words
    }
}

/// Ranges of several nodes.
#[derive(Debug)]
struct Ranges {
    frames: u64,
    ranges: usize,
    /// The first few.
    told: BTreeMap<(NodeId, Epoch), Vec<String>>,
}

impl Ranges {
    const fn new() -> Self {
        Self { frames: 0, ranges: 0, told: BTreeMap::new() }
    }

    fn add(&mut self, node: NodeId, epoch: Epoch, seqs: &RangeInclusive<u64>) {
        let (first, last) = (*seqs.start(), *seqs.end());
        self.frames = self.frames.saturating_add((last - first).saturating_add(1));
        self.ranges += 1;
        if self.ranges <= MAX_TOLD {
            let range = if first == last { first.to_string() } else { format!("{first}..{last}") };
            self.told.entry((node, epoch)).or_default().push(range);
        }
    }

    fn words(self, what: &str) -> Option<String> {
        let told = self.told.iter().map(|((node, epoch), seqs)| format!("{node} {epoch} {}", seqs.join(",")));
        let told = list(told.collect(), self.ranges, "ranges");
        (self.frames > 0).then(|| format!("{} {what} ({told})", self.frames))
    }
}

/// The first few of `all` things.
fn list(mut told: Vec<String>, all: usize, what: &str) -> String {
    if all > MAX_TOLD {
        told.push(format!("and {} {what} more", all - MAX_TOLD));
    }
    told.join(", ")
}

/// A number of things.
pub fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use mesh::Gone;

    use super::*;

    const NODE: NodeId = NodeId([7; 32]);
    const A: Epoch = Epoch([1; 8]);

    fn missing(account: Account) -> Missing {
        let account = Account { frames: 90, last: Some((A, 100)), confirmed: true, ..account };
        Missing { accounts: vec![(NODE, account)], ..Missing::default() }
    }

    #[test]
    fn of_what_is_whole_there_is_nothing_to_say() {
        assert!(missing(Account::default()).words().is_empty());
    }

    #[test]
    fn what_is_missing_is_named_and_why() {
        let told = missing(Account {
            missing: vec![(A, 20..=29), (A, 40..=40)],
            gone: vec![
                Gone { epoch: A, seqs: 1..=3, by_retention: true },
                Gone { epoch: A, seqs: 101..=102, by_retention: false },
            ],
            ..Account::default()
        });
        let run = format!("{NODE} {A}");
        assert_eq!(
            told.words(),
            [
                format!("11 missing ({run} 20..29,40)"),
                format!("3 no longer kept by their node ({run} 1..3)"),
                format!("2 lost by their node ({run} 101..102)"),
            ]
        );
    }

    #[test]
    fn who_could_not_be_asked_is_named() {
        let nodes = |number: usize| Missing {
            unconfirmed: (1..=number).map(|node| format!("seoul/jung/roof-{node} ID")).collect(),
            ..missing(Account::default())
        };
        assert_eq!(
            nodes(1).words(),
            ["not confirmed: 1 node could not be asked itself (seoul/jung/roof-1 ID), so that more may be missing"]
        );
        let many = nodes(1000).words().concat();
        assert!(
            many.contains("1000 nodes could not be asked themselves")
                && many.contains(", and 980 nodes more)")
                && many.len() < 700,
            "{many}"
        );
        assert!(nodes(1).passed_over().words().is_empty());
    }

    #[test]
    fn of_very_many_holes_some_are_named() {
        let holes = (0..1000).map(|hole| (A, 2 * hole + 1..=2 * hole + 1)).collect();
        let words = missing(Account { missing: holes, ..Account::default() }).words().concat();
        assert!(
            words.contains("1000 missing") && words.contains("and 980 ranges more") && words.len() < 300,
            "{words}"
        );
    }

    #[test]
    fn who_has_had_enough_misses_only_what_was_passed_over() {
        let holes = vec![(A, 50..=50), (A, 101..=9000), (Epoch([2; 8]), 1..=500)];
        let told = missing(Account { missing: holes, ..Account::default() }).passed_over();
        assert_eq!(told.words(), [format!("1 missing ({NODE} {A} 50)")]);
    }
}
