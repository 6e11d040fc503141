//! One node whose frames are wanted: its runs, and what each peer has of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use reading::{Epoch, Previous};

use super::holder::{Claim, Holder, starts};
use super::peer::{Peer, Peers};
use super::ranges::{Ranges, in_none};
use super::run::Run;
use super::succession::Succession;
use super::{GapLimits, Gone, Since};
use crate::history::Summary;

/// One node whose frames are wanted.
#[derive(Debug)]
pub(crate) struct Node {
    /// The node as a peer.
    pub(crate) author: Arc<str>,
    pub(crate) since: Since,
    pub(crate) runs: BTreeMap<Epoch, Run>,
    /// Runs of which something is missing.
    pub(crate) open: BTreeSet<Epoch>,
    /// By peer, connected ones only.
    pub(crate) holders: BTreeMap<Arc<str>, Holder>,
    /// What is being asked for.
    pub(crate) asked: BTreeMap<Epoch, Ranges>,
    pub(crate) frames_in_flight: usize,
    pub(crate) summary_in_flight: bool,
    /// When a peer was last asked what it has, and how long the pause after that is, as a part of the usual one.
    pub(crate) explored_at: Duration,
    pub(crate) pace: f64,
    /// Whether the node itself ever answered.
    pub(crate) author_answered: bool,
    pub(crate) explored: u32,
    /// Nothing from this frame on is asked for now.
    pub(crate) ceiling: Option<(Epoch, u64)>,
    succession: Succession,
    /// Runs were forgotten, so that a run that nobody has heard of may have been delivered: only what is heard is believed to be new.
    forgot: bool,
    /// Ranges that the runs take memory for.
    pub(crate) parts: usize,
    /// Claims of the holders, and ranges that they lack.
    pub(crate) claims: usize,
    born: u64,
}

/// What became of what was asked of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Frames came.
    Some,
    /// None came, as may be.
    None,
    /// It does not have what it said it has.
    Broken,
}

impl Node {
    pub(crate) fn new(author: Arc<str>, since: Since) -> Self {
        Self {
            author,
            since,
            runs: BTreeMap::new(),
            open: BTreeSet::new(),
            holders: BTreeMap::new(),
            asked: BTreeMap::new(),
            frames_in_flight: 0,
            summary_in_flight: false,
            explored_at: Duration::ZERO,
            pace: 0.0,
            author_answered: false,
            explored: 0,
            ceiling: None,
            succession: Succession::default(),
            forgot: false,
            parts: 0,
            claims: 0,
            born: 0,
        }
    }

    /// Takes note of a frame. False when it is a repeat.
    pub(crate) fn see(&mut self, epoch: Epoch, seq: u64, limits: &GapLimits) -> bool {
        self.learn(epoch, limits, |run| {
            run.want_heard(seq);
            run.see(seq)
        })
    }

    /// The same for a frame that says nothing of those after it.
    pub(crate) fn see_aside(&mut self, epoch: Epoch, seq: u64, limits: &GapLimits) -> bool {
        self.learn(epoch, limits, |run| run.see(seq))
    }

    /// A frame exists, and is to be fetched in its turn.
    pub(crate) fn note(&mut self, epoch: Epoch, seq: u64, limits: &GapLimits) {
        self.learn(epoch, limits, |run| {
            run.want_heard(seq);
            run.made(seq);
        });
    }

    /// A frame is referred to.
    pub(crate) fn need(&mut self, epoch: Epoch, seq: u64, limits: &GapLimits) {
        self.learn(epoch, limits, |run| run.need(seq));
    }

    /// A run is heard of by a frame of it.
    fn learn<T>(&mut self, epoch: Epoch, limits: &GapLimits, learn: impl FnOnce(&mut Run) -> T) -> T {
        let claimed = if self.runs.contains_key(&epoch) { None } else { self.claimed_from(&epoch) };
        let misses = self.open.contains(&epoch);
        let learnt = self.change(epoch, limits, |run| {
            run.want(claimed, false);
            learn(run)
        });
        if !misses && self.open.contains(&epoch) {
            self.hurry();
        }
        learnt
    }

    pub(crate) fn hold(&mut self, epoch: Epoch, seqs: RangeInclusive<u64>, limits: &GapLimits) {
        self.change(epoch, limits, |run| run.hold(seqs));
    }

    /// An announcement says where the run before ended. What follows a run that is wanted is wanted from its first frame on.
    pub(crate) fn announce(&mut self, epoch: Epoch, previous: Previous, limits: &GapLimits) {
        if previous.last_seq == 0 || previous.epoch == epoch || !self.admits(&previous.epoch) {
            return;
        }
        self.succession.follows(previous.epoch, epoch);
        if self.runs.get(&previous.epoch).is_some_and(|run| run.from().is_some()) {
            self.change(epoch, limits, |run| run.want(Some(1), false));
        }
        let misses = self.open.contains(&previous.epoch);
        self.change(previous.epoch, limits, |run| run.made(previous.last_seq));
        if !misses && self.open.contains(&previous.epoch) {
            self.hurry();
        }
    }

    /// A peer answered what it has. `room` bounds the runs that are remembered.
    pub(crate) fn summarise(&mut self, peer: &Arc<str>, summary: &Summary, room: usize, limits: &GapLimits) {
        self.summary_in_flight = false;
        let starts = starts(summary, self.since);
        let Some(mut holder) = self.holders.remove(peer) else { return };
        holder.tell(summary, &starts, room, |epoch| self.admits(epoch));
        let is_author = holder.is_author;
        let told: Vec<Epoch> = summary.runs.iter().map(|run| run.epoch).collect();
        self.succession.told(&told, is_author);
        self.holders.insert(peer.clone(), holder);
        self.forget_order(limits);
        self.weigh();
        for (run, from) in summary.runs.iter().zip(&starts).filter(|(run, _)| run.first_seq <= run.last_seq) {
            if is_author && self.admits(&run.epoch) {
                self.change(run.epoch, limits, |known| {
                    known.made(run.last_seq);
                    known.want(*from, true);
                    known.dropped(run.gone_to);
                    known.lost(1..=run.first_seq.saturating_sub(1));
                });
            } else if self.runs.contains_key(&run.epoch) {
                self.change(run.epoch, limits, |known| known.want(*from, false));
            }
        }
        if is_author {
            self.author_answered = true;
            self.lost_by_author(summary, limits);
        }
    }

    /// What the author does not list of its earlier runs is lost. Its newest run may have gone on since it answered.
    fn lost_by_author(&mut self, summary: &Summary, limits: &GapLimits) {
        let newest = summary.runs.last().map(|run| run.epoch);
        let lasts: BTreeMap<Epoch, u64> = summary.runs.iter().map(|run| (run.epoch, run.last_seq)).collect();
        let ends: Vec<(Epoch, u64)> = self.runs.iter().map(|(epoch, run)| (*epoch, run.end())).collect();
        for (epoch, end) in ends {
            let last = match lasts.get(&epoch) {
                _ if newest == Some(epoch) => continue,
                Some(last) => *last,
                None if summary.older => continue,
                None => 0,
            };
            if last < end {
                self.change(epoch, limits, |run| run.lost(last + 1..=end));
            }
        }
    }

    /// A peer looked at what it was asked for, and what it had was seen to.
    pub(crate) fn looked_at(
        &mut self,
        peer: &Arc<str>,
        epoch: Epoch,
        seqs: RangeInclusive<u64>,
        frames: u64,
        limits: &GapLimits,
    ) -> Kept {
        let none = Ranges::default();
        let run = self.runs.get(&epoch);
        let (held, floor) = run.map_or((&none, 0), |run| (run.held(), run.floor()));
        let sought = (*seqs.start()).max(floor)..=*seqs.end();
        let lacking: Vec<RangeInclusive<u64>> = in_none(sought, &[held]).collect();
        let came = frames > 0;
        let Some(holder) = self.holders.get_mut(peer) else { return Kept::None };
        let broken = holder.claims.get_mut(&epoch).is_some_and(|claim| claim.answered(&lacking, came));
        if holder.is_author && run.is_some() {
            self.change(epoch, limits, |run| lacking.into_iter().for_each(|part| run.lost(part)));
        }
        self.weigh();
        match (came, broken) {
            (true, _) => Kept::Some,
            (false, true) => Kept::Broken,
            (false, false) => Kept::None,
        }
    }

    /// From where on a run is wanted, by what holders say that is not proven yet.
    fn claimed_from(&self, epoch: &Epoch) -> Option<u64> {
        self.holders.values().filter_map(|holder| holder.claims.get(epoch)).map(|claim| claim.from).min()
    }

    /// Whether a peer that has just come is to be asked soon.
    pub(crate) fn seeks(&self, peer: &str) -> bool {
        !self.author_answered || !self.open.is_empty() || *self.author == *peer
    }

    /// A peer has gone.
    pub(crate) fn leave(&mut self, peer: &str) {
        if self.holders.remove(peer).is_some() {
            self.weigh();
        }
    }

    /// Forgets what its holders said: there is no room for it. They are asked again in time.
    pub(crate) fn disbelieve(&mut self) {
        self.holders.values_mut().for_each(|holder| holder.claims.clear());
        self.weigh();
    }

    pub(crate) fn weigh(&mut self) {
        self.claims = self.holders.values().map(Holder::weight).sum();
    }

    /// Something new is missing: whoever was asked long ago may be asked again soon.
    fn hurry(&mut self) {
        self.holders.values_mut().for_each(|holder| holder.quiet = 0);
    }

    /// Whether frames of a run are believed to be new.
    fn admits(&self, epoch: &Epoch) -> bool {
        !self.forgot || self.runs.contains_key(epoch)
    }

    /// Changes a run, which is made where there is none, and keeps the books.
    fn change<T>(&mut self, epoch: Epoch, limits: &GapLimits, change: impl FnOnce(&mut Run) -> T) -> T {
        if !self.runs.contains_key(&epoch) {
            self.make_room(limits);
            self.succession.heard(epoch);
            self.born += 1;
            let mut run = Run::new(self.born);
            if self.since == Since::Beginning {
                run.want(Some(1), false);
            }
            self.runs.insert(epoch, run);
        }
        let run = self.runs.entry(epoch).or_default();
        let before = run.parts();
        let changed = change(run);
        if run.parts() > limits.ranges_per_run {
            run.give_up(limits.ranges_per_run);
        }
        self.parts = self.parts + run.parts() - before;
        if run.misses_any() {
            self.open.insert(epoch);
        } else {
            self.open.remove(&epoch);
        }
        changed
    }

    /// Forgets the run that was heard of first, of those of which nothing is being asked; one that is complete, if there is one.
    fn make_room(&mut self, limits: &GapLimits) {
        if self.runs.len() < limits.runs_per_node {
            return;
        }
        let idle = self.runs.iter().filter(|(epoch, _)| !self.asked.contains_key(epoch));
        let Some(oldest) =
            idle.min_by_key(|(epoch, run)| (self.open.contains(epoch), run.born)).map(|(epoch, _)| *epoch)
        else {
            return;
        };
        self.forgot = true;
        self.parts -= self.runs.remove(&oldest).map_or(0, |run| run.parts());
        self.open.remove(&oldest);
        let Self { holders, runs, .. } = self;
        holders.values_mut().for_each(|holder| holder.claims.retain(|epoch, _| runs.contains_key(epoch)));
        self.weigh();
    }

    /// Keeps the order of those runs only of which there are frames, or claims, when too many were told of.
    fn forget_order(&mut self, limits: &GapLimits) {
        if self.succession.len() > 4 * limits.runs_per_node {
            let claimed = self.holders.values().flat_map(|holder| holder.claims.keys());
            self.succession.keep(&claimed.chain(self.runs.keys()).copied().collect());
        }
    }

    /// Where a frame stands among all of the node's: first by run, then by seq.
    pub(crate) fn place(&self, (epoch, seq): (Epoch, u64)) -> (usize, u64) {
        (self.succession.position(&epoch), seq)
    }

    /// The last that is known or said to exist.
    pub(crate) fn horizon(&self) -> Option<(Epoch, u64)> {
        let epoch = self.succession.newest()?;
        let claims = self.holders.values().filter_map(|holder| holder.claims.get(&epoch)).map(Claim::last);
        let end = self.runs.get(&epoch).map_or(0, Run::end);
        Some((epoch, claims.chain([end]).max().unwrap_or(end)))
    }

    /// The first frame, by run and seq, that is missing and stands above `given_up`.
    pub(crate) fn first_missing(&self, given_up: Option<(Epoch, u64)>) -> Option<(Epoch, u64)> {
        let (start_run, start_seq) = given_up.map_or((0, 0), |last| self.place(last));
        let missing = self.open.iter().filter_map(|epoch| {
            let position = self.succession.position(epoch);
            let above = if position == start_run { start_seq } else { 0 };
            let first = self.runs.get(epoch).filter(|_| position >= start_run)?.first_missing(above)?;
            Some((*epoch, first))
        });
        missing.min_by_key(|at| self.place(*at))
    }

    /// The first frame, by run and seq, that a peer offers from whom it may be expected, whether or not it is being asked for.
    pub(crate) fn first_offered(&self, peers: &Peers) -> Option<(Epoch, u64)> {
        let none = Ranges::default();
        let hopeful = self.holders.iter().filter(|(name, _)| peers.get(name).is_some_and(Peer::is_hopeful));
        let claims = hopeful.flat_map(|(_, holder)| holder.claims.iter().map(|claim| (holder.is_author, claim)));
        let offered = claims.filter_map(|(is_author, (epoch, claim))| {
            Some((*epoch, *self.part(epoch, claim, is_author, &none)?.start()))
        });
        offered.min_by_key(|at| self.place(*at))
    }

    /// Gives up half of the holes of its most scattered run.
    pub(crate) fn give_up(&mut self, limits: &GapLimits) {
        let most = self.runs.iter().max_by_key(|(_, run)| run.parts()).map(|(epoch, run)| (*epoch, run.parts()));
        if let Some((epoch, parts)) = most {
            self.change(epoch, limits, |run| run.give_up(parts / 2));
        }
    }

    pub(crate) fn missing(&self) -> Vec<(Epoch, RangeInclusive<u64>)> {
        let of_run = |epoch: &Epoch| self.runs.get(epoch).map(|run| (*epoch, run.missing()));
        self.open
            .iter()
            .filter_map(of_run)
            .flat_map(|(epoch, missing)| missing.into_iter().map(move |seqs| (epoch, seqs)))
            .collect()
    }

    pub(crate) fn gone(&self) -> Vec<Gone> {
        let of_run = |(epoch, run): (&Epoch, &Run)| {
            let epoch = *epoch;
            run.gone().into_iter().map(move |(seqs, by_retention)| Gone { epoch, seqs, by_retention })
        };
        self.runs.iter().flat_map(of_run).collect()
    }

    pub(crate) fn given_up(&self) -> u64 {
        self.runs.values().fold(0, |sum, run| sum.saturating_add(run.given_up()))
    }

    pub(crate) fn has_forgotten_runs(&self) -> bool {
        self.forgot
    }
}
