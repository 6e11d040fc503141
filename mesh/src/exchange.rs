//! When to ask a peer for its directory, and how much to answer one that asks.

use std::time::{Duration, Instant};

use crate::allowance::{Allowance, Rate};

/// Pages asked of one peer in one go. A directory of 10,000 nodes has about 60; a peer that never comes to an end is left until the next
/// time.
const MAX_PAGES: u32 = 256;
/// Wrong frames after which a peer is asked no more: each costs a signature check.
const MAX_WRONG: u32 = 64;
/// A new peer is asked again after this, then after twice that, and so on up to the usual interval: it may have connected before
/// it had anything to tell.
const SOON: Duration = Duration::from_millis(250);
/// Between two questions to a peer, however many of its frames nobody can describe.
const HURRY: Duration = Duration::from_secs(1);
/// Requests of one peer that are answered: a whole large directory at once, then a steady trickle.
const ANSWERS: Rate = Rate { per_second: 8.0, burst: 128.0 };

/// The exchange with one connected peer.
#[derive(Debug)]
pub(crate) struct Exchange {
    after: u64,
    next_ask: Instant,
    last_ask: Instant,
    waiting: bool,
    pages: u32,
    /// How often the peer was asked to the end.
    rounds: u32,
    failures: u32,
    wrong: u32,
    answers: Allowance,
}

impl Exchange {
    /// With a peer that just connected: it is asked at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            after: 0,
            next_ask: now,
            last_ask: now,
            waiting: false,
            pages: 0,
            rounds: 0,
            failures: 0,
            wrong: 0,
            answers: Allowance::full(ANSWERS, now),
        }
    }

    /// What to ask for now, if anything. Then an answer is waited for.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<u64> {
        if self.waiting || now < self.next_ask || self.wrong >= MAX_WRONG {
            return None;
        }
        self.waiting = true;
        self.last_ask = now;
        Some(self.after)
    }

    /// A page came, with so many frames that are none.
    pub(crate) fn answered(&mut self, next: u64, more: bool, wrong: u32, refresh: Duration, now: Instant) {
        self.waiting = false;
        self.failures = 0;
        self.wrong = self.wrong.saturating_add(wrong);
        self.pages += 1;
        let goes_on = more && next > self.after && self.pages < MAX_PAGES;
        self.after = self.after.max(next);
        if goes_on {
            self.next_ask = now;
        } else {
            self.pages = 0;
            self.next_ask = now + refresh.min(SOON * (1 << self.rounds.min(16)));
            self.rounds = self.rounds.saturating_add(1);
        }
    }

    /// No answer, or one that could not be read. A peer that does not speak the protocol is asked ever less often.
    pub(crate) fn failed(&mut self, refresh: Duration, now: Instant) {
        self.waiting = false;
        self.pages = 0;
        self.failures = (self.failures + 1).min(6);
        self.next_ask = now + refresh * (1 << (self.failures - 1));
    }

    /// The peer seems to know something that we do not: ask it soon, if it can be asked at all.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if self.failures == 0 {
            self.next_ask = self.next_ask.min(now.max(self.last_ask + HURRY));
        }
    }

    /// Whether one more request of the peer is answered.
    pub(crate) fn answers(&mut self, now: Instant) -> bool {
        self.answers.take(ANSWERS, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Duration = Duration::from_secs(10);

    #[test]
    fn a_new_peer_is_asked_page_by_page_and_then_now_and_then() {
        let now = Instant::now();
        let mut exchange = Exchange::new(now);
        assert_eq!(exchange.ask(now), Some(0));
        assert_eq!(exchange.ask(now), None, "one request at a time");
        exchange.answered(50, true, 0, REFRESH, now);
        assert_eq!(exchange.ask(now), Some(50));
        exchange.answered(70, false, 0, REFRESH, now);
        let mut waits = Vec::new();
        let mut then = now;
        for _ in 0..8 {
            let before = then;
            while exchange.ask(then).is_none() {
                then += Duration::from_millis(250);
            }
            waits.push((then - before).as_millis());
            exchange.answered(70, false, 0, REFRESH, then);
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn a_peer_that_leads_nowhere_is_left_alone() {
        let now = Instant::now();
        let mut endless = Exchange::new(now);
        for page in 1..=u64::from(MAX_PAGES) {
            assert!(endless.ask(now).is_some());
            endless.answered(page, true, 0, REFRESH, now);
        }
        assert_eq!(endless.ask(now), None);
        assert_eq!(endless.ask(now + SOON), Some(u64::from(MAX_PAGES)));

        let mut circling = Exchange::new(now);
        circling.ask(now);
        circling.answered(0, true, 0, REFRESH, now);
        assert_eq!(circling.ask(now), None);

        let mut lying = Exchange::new(now);
        lying.ask(now);
        lying.answered(1, true, MAX_WRONG, REFRESH, now);
        assert_eq!(lying.ask(now + 100 * REFRESH), None);
    }

    #[test]
    fn a_stranger_is_asked_ever_less_often() {
        let mut now = Instant::now();
        let mut exchange = Exchange::new(now);
        let mut asked = 0;
        for _ in 0..600 {
            if exchange.ask(now).is_some() {
                asked += 1;
                exchange.failed(REFRESH, now);
            }
            now += Duration::from_secs(1);
        }
        assert!((5..8).contains(&asked), "{asked}");
        let before = exchange.next_ask;
        exchange.hurry(now);
        assert_eq!(exchange.next_ask, before);
    }

    #[test]
    fn a_peer_that_brings_news_is_asked_at_once_but_not_all_the_time() {
        let mut now = Instant::now();
        let mut exchange = Exchange::new(now);
        let mut asked = 0;
        for _ in 0..100 {
            exchange.hurry(now);
            if exchange.ask(now).is_some() {
                asked += 1;
                exchange.answered(1, false, 0, REFRESH, now);
            }
            now += Duration::from_millis(100);
        }
        assert!((9..=12).contains(&asked), "{asked}");
    }

    #[test]
    fn answers_have_a_rate() {
        let now = Instant::now();
        let mut exchange = Exchange::new(now);
        assert_eq!((0..1000).filter(|_| exchange.answers(now)).count(), 128);
        assert_eq!((0..1000).filter(|_| exchange.answers(now + Duration::from_secs(1))).count(), 8);
    }
}
