//! Whose question is answered next: peers take turns, however many questions each has.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::allowance::{Allowance, Rate};

/// Questions of one peer that wait; beyond, it is told to come back.
const MAX_WAITING: usize = 4;
/// Questions that are being answered at once: one is read while another is sent.
const MAX_SERVED: usize = 2;
/// What one peer may ask for long: 64 full answers a second are 4 MB/s.
const RATE: Rate = Rate { per_second: 64.0, burst: 128.0 };
/// Peers whose rate is remembered; beyond, those that wait for nothing are forgotten.
const MAX_PEERS: usize = 1024;

/// What waits to be answered.
#[derive(Debug)]
pub(crate) struct Turns<P, Q> {
    waiting: HashMap<P, VecDeque<Q>>,
    order: VecDeque<P>,
    rates: HashMap<P, Allowance>,
    served: usize,
}

impl<P: Copy + Eq + Hash, Q> Turns<P, Q> {
    pub(crate) fn new() -> Self {
        Self { waiting: HashMap::new(), order: VecDeque::new(), rates: HashMap::new(), served: 0 }
    }

    /// A question comes. It is given back with the time after which to ask again, where it must not wait.
    pub(crate) fn ask(&mut self, peer: P, question: Q, now: Instant) -> Result<(), (Q, Duration)> {
        if self.rates.len() >= MAX_PEERS {
            let waiting = &self.waiting;
            self.rates.retain(|peer, _| waiting.contains_key(peer));
        }
        let rate = self.rates.entry(peer).or_insert_with(|| Allowance::full(RATE, now));
        if !rate.take(RATE, now) {
            return Err((question, Duration::from_secs(1)));
        }
        let line = self.waiting.entry(peer).or_default();
        if line.len() >= MAX_WAITING {
            return Err((question, Duration::from_millis(500)));
        }
        if line.is_empty() {
            self.order.push_back(peer);
        }
        line.push_back(question);
        Ok(())
    }

    /// The next question to answer, if one more may be.
    pub(crate) fn next(&mut self) -> Option<(P, Q)> {
        if self.served >= MAX_SERVED {
            return None;
        }
        let peer = self.order.pop_front()?;
        let line = self.waiting.get_mut(&peer)?;
        let question = line.pop_front()?;
        if line.is_empty() {
            self.waiting.remove(&peer);
        } else {
            self.order.push_back(peer);
        }
        self.served += 1;
        Some((peer, question))
    }

    /// A question that [`next`](Self::next) gave out is over.
    pub(crate) fn done(&mut self) {
        self.served = self.served.saturating_sub(1);
    }

    /// A peer has gone: nobody waits for its answers.
    pub(crate) fn leave(&mut self, peer: &P) {
        self.waiting.remove(peer);
        self.order.retain(|waits| waits != peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_much_waits_no_less_than_who_asks_little() {
        let (mut turns, now) = (Turns::new(), Instant::now());
        for question in 0..4 {
            turns.ask('a', question, now).unwrap();
        }
        assert!(turns.ask('a', 4, now).is_err(), "no more wait");
        turns.ask('b', 10, now).unwrap();
        turns.ask('c', 20, now).unwrap();
        let mut order = Vec::new();
        while let Some((peer, _)) = turns.next() {
            order.push(peer);
            if order.len() >= 2 {
                turns.done();
            }
        }
        assert_eq!(order, ['a', 'b', 'c', 'a', 'a', 'a']);
    }

    #[test]
    fn no_more_than_two_at_once_and_nobody_who_has_gone() {
        let (mut turns, now) = (Turns::new(), Instant::now());
        for peer in ['a', 'b', 'c', 'd'] {
            turns.ask(peer, 0, now).unwrap();
        }
        assert!(turns.next().is_some() && turns.next().is_some() && turns.next().is_none());
        turns.leave(&'c');
        turns.done();
        assert_eq!(turns.next(), Some(('d', 0)));
    }

    #[test]
    fn who_asks_too_often_is_told_when_to_come_back() {
        let (mut turns, now) = (Turns::new(), Instant::now());
        let mut taken = 0;
        for question in 0..1000 {
            if turns.ask('a', question, now).is_ok() {
                taken += 1;
                turns.next();
                turns.done();
            }
        }
        assert_eq!(taken, 128);
        assert!(matches!(turns.ask('a', 0, now), Err((0, pause)) if pause == Duration::from_secs(1)));
        assert!(turns.ask('b', 0, now).is_ok(), "another peer is not held back");
        assert!(turns.ask('a', 0, now + Duration::from_secs(1)).is_ok());
    }
}
