//! What to ask next for one node, and of whom.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use reading::Epoch;

use super::holder::{Claim, Holder};
use super::node::Node;
use super::peer::{Peer, Peers};
use super::ranges::Ranges;
use super::{GapLimits, Question, Standing};
use crate::random::Random;

/// So many peers are asked at once what they have of a node, the node itself not counted. One may be wrong, and one slow.
const EXPLORED_AT_ONCE: u32 = 3;
/// Between two further peers: each is asked some time, since any of them may have what nobody else has. It is urgent while something is
/// missing that nobody offers, and until the node itself has said what there is.
const EXPLORE: Duration = Duration::from_secs(1);
const EXPLORE_IDLY: Duration = Duration::from_secs(300);
/// A peer is asked again what it has of a node after this, then after twice that, and so on, while something is missing that nobody offers.
const AGAIN_MIN: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(120);
/// While nothing is missing as far as is known, the node itself is asked so often, and others so often.
const ROUTINE_AUTHOR: Duration = Duration::from_secs(300);
const ROUTINE: Duration = Duration::from_secs(900);
/// Who has nothing of anybody but itself is asked so often.
const ROUTINE_STRANGER: Duration = Duration::from_secs(3600);

/// What there is to do for a node.
#[derive(Debug)]
pub(crate) enum Look {
    /// Ask this of this peer.
    Ask(Arc<str>, Question),
    /// Something, as soon as this peer has answered others, or at this time.
    Blocked(Arc<str>, Option<Duration>),
    /// Nothing before this time, unless something happens.
    Until(Option<Duration>),
}

impl Node {
    /// What to do now.
    pub(crate) fn look(&self, peers: &Peers, limits: &GapLimits, now: Duration) -> Look {
        let mut wait = Wait::default();
        let uncovered = self.is_uncovered(peers, now);
        if !self.summary_in_flight
            && let Some(peer) = self.whom_to_ask_what_it_has(peers, limits, uncovered, now, &mut wait)
        {
            return Look::Ask(peer, Question::Summary { since: self.since });
        }
        if self.frames_in_flight < limits.in_flight_per_node
            && let Some((peer, epoch, seqs)) = self.frames_to_ask(peers, limits, now, &mut wait)
        {
            return Look::Ask(peer, Question::Frames { epoch, seqs });
        }
        match wait.for_peer {
            Some((_, peer)) => Look::Blocked(peer, wait.until),
            None => Look::Until(wait.until),
        }
    }

    /// When the peer that was just asked what it has is followed by another.
    pub(crate) fn explored(&mut self, peer: &Arc<str>, random: &mut Random, limits: &GapLimits, now: Duration) {
        if !self.holders.contains_key(peer) && self.holders.len() >= limits.holders_per_node {
            self.forget_useless_holder();
        }
        let is_author = self.author == *peer;
        let holder = self.holders.entry(peer.clone()).or_default();
        (holder.is_author, holder.asked_at, holder.stretch) = (is_author, Some(now), 0.8 + 0.4 * random.next());
        if !is_author {
            self.explored = self.explored.saturating_add(1);
            self.explored_at = now;
            self.pace = if self.explored < EXPLORED_AT_ONCE { 0.0 } else { 0.8 + 0.4 * random.next() };
        }
    }

    /// How far its frames are together. `asks` says whether somebody is being asked from whom an answer may be expected.
    pub(crate) fn standing(&self, peers: &Peers, asks: bool) -> Standing {
        let hopeful = |name: &Arc<str>| peers.get(name).is_some_and(Peer::is_hopeful);
        let offered = self.holders.iter().any(|(name, holder)| hopeful(name) && self.offer(holder).is_some());
        if offered || asks {
            return Standing::Waiting;
        }
        let answered = |name: &Arc<str>| self.holders.get(name).is_some_and(|holder| holder.answered);
        let settled = answered(&self.author) && self.open.is_empty();
        if !settled && peers.connected.keys().any(|name| hopeful(name) && !answered(name)) {
            return Standing::Waiting;
        }
        if self.open.is_empty() && self.holders.values().any(|holder| holder.answered) {
            Standing::Complete
        } else {
            Standing::Stuck
        }
    }

    /// Whether the node itself was asked, or as many others as are asked at once, one of which had something; or all there are.
    pub(crate) fn is_explored(&self, peers: &Peers) -> bool {
        let answered = |name: &Arc<str>| self.holders.get(name).is_some_and(|holder| holder.answered);
        let hopeful = || peers.connected.iter().filter(|(_, peer)| peer.is_hopeful());
        let several = self.holders.values().filter(|holder| holder.answered).count() >= EXPLORED_AT_ONCE as usize;
        self.author_answered
            || several && self.holders.values().any(|holder| !holder.claims.is_empty())
            || hopeful().all(|(name, _)| answered(name))
    }

    /// Whether something is missing that nobody who answers offers.
    fn is_uncovered(&self, peers: &Peers, now: Duration) -> bool {
        !self.open.is_empty()
            && self.frames_in_flight == 0
            && !self.holders.iter().any(|(peer, holder)| {
                peers.get(peer).is_some_and(|peer| peer.answers(now)) && self.offer(holder).is_some()
            })
    }

    /// The first thing, by run and seq, that a holder has and that is wanted.
    pub(crate) fn offer(&self, holder: &Holder) -> Option<(Epoch, RangeInclusive<u64>)> {
        let none = Ranges::default();
        let offers = holder.claims.iter().filter_map(|(epoch, claim)| {
            let asked = self.asked.get(epoch).unwrap_or(&none);
            Some((*epoch, self.part(epoch, claim, holder.is_author, asked)?))
        });
        offers.min_by_key(|(epoch, seqs)| self.place((*epoch, *seqs.start())))
    }

    /// The first part of a run that a claim offers and that is wanted, and not being asked for. What its author gave away it surely has.
    pub(crate) fn part(
        &self,
        epoch: &Epoch,
        claim: &Claim,
        is_author: bool,
        asked: &Ranges,
    ) -> Option<RangeInclusive<u64>> {
        let none = Ranges::default();
        let Some(run) = self.runs.get(epoch) else { return claim.offers(claim.from..=claim.last(), &none, asked) };
        let last = if is_author { claim.last().max(run.end()) } else { claim.last() };
        let from = match run.from() {
            from if run.is_by_author() => from,
            Some(from) => Some(from.min(claim.from)),
            None => Some(claim.from),
        };
        run.wanted(from, last).find_map(|part| claim.offers(part, run.held(), asked))
    }

    fn frames_to_ask(
        &self,
        peers: &Peers,
        limits: &GapLimits,
        now: Duration,
        wait: &mut Wait,
    ) -> Option<(Arc<str>, Epoch, RangeInclusive<u64>)> {
        let ceiling = self.ceiling.map(|ceiling| (ceiling, self.place(ceiling)));
        let mut best: Option<(_, &Arc<str>, Epoch, RangeInclusive<u64>)> = None;
        for (name, holder) in &self.holders {
            let Some(peer) = peers.get(name) else { continue };
            let Some((epoch, mut seqs)) = self.offer(holder) else { continue };
            let place = self.place((epoch, *seqs.start()));
            if let Some(((ceiling_epoch, ceiling_seq), ceiling_place)) = ceiling {
                if place >= ceiling_place {
                    continue;
                }
                if epoch == ceiling_epoch {
                    seqs = *seqs.start()..=(*seqs.end()).min(ceiling_seq - 1);
                }
            }
            let rank = (place, peer.load());
            if wait.allows(name, peer, limits, now) && best.as_ref().is_none_or(|(other, ..)| rank < *other) {
                best = Some((rank, name, epoch, seqs));
            }
        }
        best.map(|(_, name, epoch, seqs)| (name.clone(), epoch, seqs))
    }

    /// The node itself before all others; then whoever was not asked yet, one by one; then, now and then, those who were.
    fn whom_to_ask_what_it_has(
        &self,
        peers: &Peers,
        limits: &GapLimits,
        uncovered: bool,
        now: Duration,
        wait: &mut Wait,
    ) -> Option<Arc<str>> {
        if let Some(peer) = peers.get(&self.author) {
            let due = self.holders.get(&self.author).map_or(Duration::ZERO, |holder| again_at(holder, true, uncovered));
            if wait.until(due, now) && wait.allows(&self.author, peer, limits, now) {
                return Some(self.author.clone());
            }
        }
        let stranger = self.stranger_to_ask(peers, limits, uncovered, now, wait);
        stranger.or_else(|| self.holder_to_ask_again(peers, limits, uncovered, now, wait))
    }

    /// One of those that were not asked yet, those first that had frames of others.
    fn stranger_to_ask(
        &self,
        peers: &Peers,
        limits: &GapLimits,
        uncovered: bool,
        now: Duration,
        wait: &mut Wait,
    ) -> Option<Arc<str>> {
        let is_stranger = |name: &Arc<str>| !self.holders.contains_key(name);
        let keeper = peers.keepers().any(is_stranger);
        let full = self.holders.len() >= limits.holders_per_node;
        if !keeper && (peers.connected.len() <= self.holders.len() || full && !uncovered) {
            return None;
        }
        let pause = match (full, keeper) {
            (false, _) if keeper || uncovered || !self.author_answered => EXPLORE,
            (false, _) => EXPLORE_IDLY,
            // Who is asked now may well have been asked before, and forgotten.
            (true, true) => AGAIN_MAX,
            (true, false) => ROUTINE,
        };
        if !wait.until(self.explored_at + pause.mul_f64(self.pace), now) {
            return None;
        }
        let strangers = peers.connected.iter().filter(|(name, _)| is_stranger(name));
        let able = strangers.filter(|(name, peer)| wait.allows(name, peer, limits, now));
        able.min_by_key(|(name, peer)| (!peers.is_keeper(name), peer.load())).map(|(name, _)| name.clone())
    }

    /// One of those that were asked, when it is time again. If it rests, another whose time has come.
    fn holder_to_ask_again(
        &self,
        peers: &Peers,
        limits: &GapLimits,
        uncovered: bool,
        now: Duration,
        wait: &mut Wait,
    ) -> Option<Arc<str>> {
        if !wait.until(self.explored_at + EXPLORE.mul_f64(self.pace), now) {
            return None;
        }
        let others = self.holders.iter().filter(|(_, holder)| !holder.is_author);
        let due = others
            .filter(|(name, holder)| wait.until(again_at(holder, peers.is_keeper(name), uncovered), now))
            .collect::<Vec<_>>();
        let able = due
            .into_iter()
            .filter(|(name, _)| peers.get(name).is_some_and(|peer| wait.allows(name, peer, limits, now)));
        able.min_by_key(|(_, holder)| holder.asked_at).map(|(name, _)| name.clone())
    }

    fn forget_useless_holder(&mut self) {
        let useless = |(_, holder): &(&Arc<str>, &Holder)| !holder.is_author && self.offer(holder).is_none();
        // What it lacks is worth remembering.
        let worth = |(_, holder): &(&Arc<str>, &Holder)| (!holder.claims.is_empty(), holder.asked_at);
        let oldest = self.holders.iter().filter(useless).min_by_key(worth);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.leave(&name);
        }
    }
}

fn again_at(holder: &Holder, keeper: bool, uncovered: bool) -> Duration {
    if holder.answered && holder.claims.is_empty() && !holder.is_author && !keeper {
        return holder.asked_at.map_or(Duration::ZERO, |asked| asked + ROUTINE_STRANGER.mul_f64(holder.stretch));
    }
    // Nobody knows what is missing of a node before it was told what there is: who was asked and did not answer is not asked as a matter of
    // routine. How often it fails is known of the peer, which then rests.
    let urgent = uncovered || !holder.answered;
    let pause = match (urgent, holder.is_author) {
        (true, is_author) => {
            let max = if is_author { AGAIN_MAX } else { ROUTINE };
            AGAIN_MIN.saturating_mul(1 << holder.quiet.min(10)).min(max)
        }
        (false, true) => ROUTINE_AUTHOR,
        (false, false) => ROUTINE,
    };
    holder.asked_at.map_or(Duration::ZERO, |asked| asked + pause.mul_f64(holder.stretch))
}

/// What stands in the way, if nothing can be asked.
#[derive(Debug, Default)]
struct Wait {
    /// Of the peers that are asked as much as may be, the most reliable, with its load.
    for_peer: Option<((u32, usize, u64), Arc<str>)>,
    until: Option<Duration>,
}

impl Wait {
    /// Whether it is time; otherwise it is remembered when.
    fn until(&mut self, due: Duration, now: Duration) -> bool {
        if due > now {
            self.until = Some(self.until.map_or(due, |until| until.min(due)));
        }
        due <= now
    }

    /// Whether the peer can be asked just now.
    fn allows(&mut self, name: &Arc<str>, peer: &Peer, limits: &GapLimits, now: Duration) -> bool {
        if !self.until(peer.not_before, now) {
            return false;
        }
        let free = peer.in_flight < limits.in_flight_per_peer;
        let rank = peer.rank();
        if !free && self.for_peer.as_ref().is_none_or(|(other, _)| rank < *other) {
            self.for_peer = Some((rank, name.clone()));
        }
        free
    }
}
