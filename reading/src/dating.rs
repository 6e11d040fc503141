//! When frames were made, where their node did not know the time yet: a later clock fix of the same boot says it.

use std::collections::{BTreeMap, HashMap};

use crate::{BootId, ClockFix, ClockState, Frame, Kind, NodeId, Payload};

/// Nodes whose fixes are remembered; beyond, the one that said nothing new for longest is forgotten, and what it made before its clock was
/// known stays undated until it says so again.
const MAX_NODES: usize = 10_000;
/// Boots of one node that are remembered; beyond, the one fixed first is forgotten.
const MAX_BOOTS: usize = 32;
/// Fixes of one boot that are remembered; beyond, the latest are not: those that date what came before the clock was known are the first.
const MAX_FIXES: usize = 8;

/// Learns clock fixes, and dates frames by them.
///
/// A node without a battery clock stamps its frames with an uptime that is right and a wall time that is not. Once it has learned the time, its clock
/// fix says what wall time uptime 0 was, which dates every frame of that boot, whichever run of the program made it. A node may fix its boot again,
/// when its clock was set anew: of several fixes the first made after the frame counts, else the last one, so that what is once
/// dated stays so.
#[derive(Clone, Debug, Default)]
pub struct Dating {
    nodes: HashMap<NodeId, Boots>,
    /// Fixes learned so far.
    learned: u64,
}

/// The boots of one node.
#[derive(Clone, Debug, Default)]
struct Boots {
    boots: Vec<Boot>,
    /// The number of the fix that was learned last.
    learned: u64,
}

/// Wall time at uptime 0 (us since 1970) by when it was said: the uptime in ms of the frame with the fix.
#[derive(Clone, Debug)]
struct Boot {
    id: BootId,
    fixes: BTreeMap<u64, i64>,
}

impl Dating {
    /// Takes note of a verified frame. True where it is a clock fix that was not known yet: what was made in its boot may have a time now.
    pub fn learn(&mut self, frame: &Frame) -> bool {
        if frame.kind() != Kind::CLOCK_FIX {
            return false;
        }
        // What cannot be read says nothing.
        let Ok(Payload::ClockFix(fix)) = frame.payload() else { return false };
        let said_at_ms = if fix.boot == frame.boot() { frame.stamp().uptime_ms } else { u64::MAX };
        if !self.nodes.contains_key(&frame.node()) && self.nodes.len() >= MAX_NODES {
            self.forget_one();
        }
        let boots = self.nodes.entry(frame.node()).or_default();
        let new = boots.learn(fix, said_at_ms);
        if new {
            self.learned += 1;
            boots.learned = self.learned;
        }
        new
    }

    /// When a frame was made, us since 1970: what it says itself where its clock was synced or free-running, else by a fix of its boot; `None`
    /// while there is none.
    pub fn time_us(&self, frame: &Frame) -> Option<i64> {
        let stamp = frame.stamp();
        if matches!(stamp.clock, ClockState::SYNCED | ClockState::FREE_RUNNING) {
            return Some(stamp.time_us);
        }
        let boots = &self.nodes.get(&frame.node())?.boots;
        let fixes = &boots.iter().find(|boot| boot.id == frame.boot())?.fixes;
        let after = fixes.range(stamp.uptime_ms..).next();
        let (_, wall_at_zero_us) = after.or_else(|| fixes.last_key_value())?;
        // No sane fix and uptime come near the end of the numbers.
        wall_at_zero_us.checked_add(i64::try_from(stamp.uptime_ms).ok()?.checked_mul(1000)?)
    }

    fn forget_one(&mut self) {
        let oldest = self.nodes.iter().min_by_key(|(_, boots)| boots.learned).map(|(node, _)| *node);
        if let Some(node) = oldest {
            self.nodes.remove(&node);
        }
    }
}

impl Boots {
    fn learn(&mut self, fix: ClockFix, said_at_ms: u64) -> bool {
        let known = self.boots.iter().position(|boot| boot.id == fix.boot);
        let index = known.unwrap_or_else(|| {
            if self.boots.len() >= MAX_BOOTS {
                self.boots.remove(0);
            }
            self.boots.push(Boot { id: fix.boot, fixes: BTreeMap::new() });
            self.boots.len() - 1
        });
        let Some(Boot { fixes, .. }) = self.boots.get_mut(index) else { return false };
        if fixes.contains_key(&said_at_ms) {
            return false;
        }
        fixes.insert(said_at_ms, fix.wall_at_zero_us);
        // The last one is what everything after it is dated by, so that the one before it goes.
        if fixes.len() > MAX_FIXES
            && let Some(&last_but_one) = fixes.keys().nth_back(1)
        {
            fixes.remove(&last_but_one);
            return last_but_one != said_at_ms;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Author, Epoch, Event, EventCode, NodeKey, Stamp, Text};

    const BOOT: BootId = BootId([7; 8]);
    const NOON_US: i64 = 1_764_000_000_000_000;
    const SECOND: i64 = 1_000_000;

    fn author(seed: u8, epoch: u8, boot: BootId) -> Author {
        Author::new(NodeKey::from_seed([seed; 32]), Epoch([epoch; 8]), boot)
    }

    fn event() -> Payload {
        Payload::Event(Event { code: EventCode::BUS_STALLED, sensor: None, detail: Text::lossy("") })
    }

    fn made(author: &mut Author, uptime_s: u64, time_us: i64, clock: ClockState) -> Frame {
        author.sign(Stamp { uptime_ms: uptime_s * 1000, time_us, clock }, &event()).unwrap()
    }

    fn undated(author: &mut Author, uptime_s: u64) -> Frame {
        made(author, uptime_s, uptime_s as i64 * SECOND, ClockState::UNKNOWN)
    }

    fn fix(author: &mut Author, boot: BootId, uptime_s: u64, wall_at_zero_us: i64) -> Frame {
        let stamp = Stamp { uptime_ms: uptime_s * 1000, time_us: 0, clock: ClockState::SYNCED };
        author.sign(stamp, &Payload::ClockFix(ClockFix { boot, wall_at_zero_us, uncertainty_ms: 10 })).unwrap()
    }

    #[test]
    fn what_was_measured_before_the_time_was_known_is_dated_when_it_is() {
        let (mut dating, mut first) = (Dating::default(), author(1, 1, BOOT));
        // A run that died before it knew the time, and the one after it, in the same boot.
        let early = undated(&mut first, 20);
        let mut second = author(1, 2, BOOT);
        let late = undated(&mut second, 40);
        assert_eq!(dating.time_us(&early), None);
        assert!(dating.learn(&fix(&mut second, BOOT, 60, NOON_US)));
        assert_eq!(dating.time_us(&early), Some(NOON_US + 20 * SECOND));
        assert_eq!(dating.time_us(&late), Some(NOON_US + 40 * SECOND));
        assert_eq!(dating.time_us(&undated(&mut second, 99)), Some(NOON_US + 99 * SECOND));
    }

    #[test]
    fn a_fix_is_for_its_own_node_and_boot() {
        let (mut dating, mut node) = (Dating::default(), author(1, 1, BOOT));
        dating.learn(&fix(&mut node, BOOT, 60, NOON_US));
        assert_eq!(dating.time_us(&undated(&mut author(2, 1, BOOT), 20)), None);
        assert_eq!(dating.time_us(&undated(&mut author(1, 3, BootId([8; 8])), 20)), None);
    }

    #[test]
    fn who_knew_the_time_is_believed() {
        let (mut dating, mut node) = (Dating::default(), author(1, 1, BOOT));
        dating.learn(&fix(&mut node, BOOT, 60, NOON_US));
        for clock in [ClockState::SYNCED, ClockState::FREE_RUNNING] {
            assert_eq!(dating.time_us(&made(&mut node, 70, 5, clock)), Some(5));
        }
        let of_a_later_version = made(&mut node, 70, 5, ClockState(9));
        assert_eq!(dating.time_us(&of_a_later_version), Some(NOON_US + 70 * SECOND));
    }

    #[test]
    fn a_clock_set_anew_changes_no_earlier_date_whatever_comes_first() {
        let mut node = author(1, 1, BOOT);
        let (early, between, after) = (undated(&mut node, 20), undated(&mut node, 80), undated(&mut node, 500));
        let fixes = [fix(&mut node, BOOT, 60, NOON_US), fix(&mut node, BOOT, 100, NOON_US - 3600 * SECOND)];
        for order in [[0, 1], [1, 0]] {
            let mut dating = Dating::default();
            assert!(order.iter().all(|index| dating.learn(&fixes[*index])));
            assert!(!dating.learn(&fixes[0]), "known already");
            assert_eq!(dating.time_us(&early), Some(NOON_US + 20 * SECOND));
            assert_eq!(dating.time_us(&between), Some(NOON_US - 3520 * SECOND));
            assert_eq!(dating.time_us(&after), Some(NOON_US - 3100 * SECOND));
        }
    }

    #[test]
    fn memory_is_bounded_whatever_a_node_says() {
        let (mut dating, mut node) = (Dating::default(), author(1, 1, BOOT));
        let early = undated(&mut node, 1);
        for number in 0..100 {
            dating.learn(&fix(&mut node, BOOT, 60 + number, NOON_US + number as i64 * SECOND));
        }
        assert_eq!(dating.time_us(&early), Some(NOON_US + SECOND), "by the first");
        assert_eq!(dating.time_us(&undated(&mut node, 900)), Some(NOON_US + 999 * SECOND), "by the last");
        for boot in 0..=MAX_BOOTS as u8 {
            dating.learn(&fix(&mut node, BootId([boot; 8]), 60, NOON_US));
        }
        let boots = &dating.nodes[&node.node()].boots;
        assert!(boots.len() == MAX_BOOTS && boots.iter().all(|boot| boot.fixes.len() <= MAX_FIXES));
    }

    #[test]
    fn nonsense_dates_nothing() {
        let (mut dating, mut node) = (Dating::default(), author(1, 1, BOOT));
        dating.learn(&fix(&mut node, BOOT, 60, i64::MAX));
        assert_eq!(dating.time_us(&undated(&mut node, 20)), None);
        let stamp = Stamp { uptime_ms: u64::MAX, time_us: 0, clock: ClockState::UNKNOWN };
        let endless = node.sign(stamp, &event()).unwrap();
        assert_eq!(dating.time_us(&endless), None);
        let broken = node.sign_unchecked(stamp, Kind::CLOCK_FIX, &[1, 2, 3]).unwrap();
        assert!(!dating.learn(&broken));
    }
}
