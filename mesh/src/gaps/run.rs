//! What is wanted, held, gone and missing of one run of a node.

use std::ops::RangeInclusive;

use super::ranges::{Ranges, first_in_none, in_none};

/// One run of a node, of which at least one proof is known: a frame, or its author's word.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// The lowest seq that is wanted; `None` while nobody said that any is.
    from: Option<u64>,
    /// Whether the author itself said so: then others do not change it.
    by_author: bool,
    /// The highest seq that the author made for sure. What holders claim beyond is asked for, but not missed.
    end: u64,
    held: Ranges,
    /// What the author no longer has. A frame of it that turns up elsewhere is taken all the same.
    gone: Ranges,
    /// Up to this seq the author's retention took what is gone.
    dropped_to: u64,
    /// Below this seq, what was not held was given up.
    floor: u64,
    given_up: u64,
    /// Frames before `from` that are wanted all the same: announcements that later frames refer to.
    needed: Ranges,
    /// The how-manieth run of its node that was heard of.
    pub(crate) born: u64,
}

/// Ranges of frames before the beginning that are wanted all the same; beyond, what refers to further ones stays unexplained.
const MAX_NEEDED: usize = 64;

impl Run {
    pub(crate) fn new(born: u64) -> Self {
        Self { born, ..Self::default() }
    }

    /// Takes note of a frame. False when it was held before, or given up.
    pub(crate) fn see(&mut self, seq: u64) -> bool {
        if seq < self.floor || self.held.contains(seq) {
            return false;
        }
        self.end = self.end.max(seq);
        self.hold(seq..=seq);
        true
    }

    /// What the program has already.
    pub(crate) fn hold(&mut self, seqs: RangeInclusive<u64>) {
        self.gone.remove(seqs.clone());
        self.end = self.end.max(*seqs.end());
        self.held.insert(seqs);
    }

    /// The author made frames up to `end`.
    pub(crate) fn made(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Frames are wanted from `from` on, says a holder or the author. The author's word stands; of others', the lowest.
    pub(crate) fn want(&mut self, from: Option<u64>, by_author: bool) {
        if by_author {
            (self.from, self.by_author) = (from, true);
        } else if !self.by_author {
            self.from = self.from.into_iter().chain(from).min();
        }
    }

    /// A frame came of which nobody had said whether it is wanted.
    pub(crate) fn want_heard(&mut self, seq: u64) {
        if !self.by_author || self.from.is_none() {
            self.from = Some(self.from.map_or(seq, |from| from.min(seq)));
        }
    }

    /// The author no longer has these.
    pub(crate) fn lost(&mut self, seqs: RangeInclusive<u64>) {
        let sought = (*seqs.start()).max(self.floor)..=*seqs.end();
        for part in in_none(sought, &[&self.held]) {
            self.gone.insert(part);
        }
    }

    /// Up to this seq it was the author's retention.
    pub(crate) fn dropped(&mut self, to: u64) {
        self.dropped_to = self.dropped_to.max(to);
    }

    /// A later frame refers to this one.
    pub(crate) fn need(&mut self, seq: u64) {
        if seq >= self.floor && !self.held.contains(seq) && self.needed.parts() < MAX_NEEDED {
            self.needed.insert(seq..=seq);
            self.end = self.end.max(seq);
        }
    }

    pub(crate) fn missing(&self) -> Vec<RangeInclusive<u64>> {
        let sets = [&self.held, &self.gone];
        self.wanted(self.from, self.end).flat_map(|part| in_none(part, &sets).collect::<Vec<_>>()).collect()
    }

    pub(crate) fn misses_any(&self) -> bool {
        self.first_missing(0).is_some()
    }

    /// The first that is missing above `seq`.
    pub(crate) fn first_missing(&self, seq: u64) -> Option<u64> {
        let sets = [&self.held, &self.gone];
        let wanted = self.wanted(self.from, self.end);
        let above = wanted.map(|part| (*part.start()).max(seq.saturating_add(1))..=*part.end());
        above.filter(|part| !part.is_empty()).find_map(|part| first_in_none(part, &sets)).map(|part| *part.start())
    }

    /// What is wanted from `from` up to `last`, and what is needed before it, in order.
    pub(crate) fn wanted(&self, from: Option<u64>, last: u64) -> impl Iterator<Item = RangeInclusive<u64>> {
        let (floor, from) = (self.floor, from.map(|from| from.max(self.floor)));
        let before = from.map_or(u64::MAX, |from| from.saturating_sub(1));
        let needed = self.needed.iter().map(move |part| (*part.start()).max(floor)..=(*part.end()).min(before));
        needed.chain(from.map(|from| from..=last)).filter(|part| !part.is_empty())
    }

    /// What is gone of what is wanted, and whether retention took it.
    pub(crate) fn gone(&self) -> Vec<(RangeInclusive<u64>, bool)> {
        let Some(from) = self.from else { return Vec::new() };
        let mut gone = Vec::new();
        for part in self.gone.iter() {
            let (first, last) = ((*part.start()).max(from), *part.end());
            let split = self.dropped_to.min(last);
            if first <= split {
                gone.push((first..=split, true));
            }
            if first.max(split.saturating_add(1)) <= last {
                gone.push((first.max(split + 1)..=last, false));
            }
        }
        gone
    }

    pub(crate) fn from(&self) -> Option<u64> {
        self.from
    }

    pub(crate) fn is_by_author(&self) -> bool {
        self.by_author
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn held(&self) -> &Ranges {
        &self.held
    }

    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// What its memory goes by.
    pub(crate) fn parts(&self) -> usize {
        self.held.parts() + self.gone.parts() + self.needed.parts()
    }

    /// Gives the lowest holes up until the run takes no more than `parts` ranges. Their frames count as held from then on.
    pub(crate) fn give_up(&mut self, parts: usize) {
        while self.parts() > parts.max(1) {
            let hole = first_in_none(self.bottom()..=u64::MAX, &[&self.held]);
            let above = hole.and_then(|hole| hole.end().checked_add(1));
            // Where nothing above is held, what makes the many ranges is what is gone.
            let gone = || self.gone.iter().next().and_then(|part| part.end().checked_add(1));
            let Some(floor) = above.or_else(gone) else { return };
            self.raise(floor);
        }
    }

    fn bottom(&self) -> u64 {
        self.from.unwrap_or(1).max(self.floor)
    }

    fn raise(&mut self, floor: u64) {
        let Some(last) = floor.checked_sub(1) else { return };
        for hole in in_none(self.bottom()..=last, &[&self.held]) {
            self.given_up = self.given_up.saturating_add((hole.end() - hole.start()).saturating_add(1));
        }
        self.held.remove(0..=last);
        self.gone.remove(0..=last);
        self.needed.remove(0..=last);
        self.floor = floor;
    }
}
