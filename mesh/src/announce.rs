//! When to send the own announcement again.

use std::time::{Duration, Instant};

use reading::Frame;

use crate::handle::Published;

/// Once nobody was there to hear it, it is sent as soon as somebody comes, but no more often than this.
const SOON: Duration = Duration::from_secs(1);

/// The own announcement, always the same frame: it is the message around it that is new.
#[derive(Debug, Default)]
pub(crate) struct Announcing {
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    frame: Frame,
    at: Instant,
    heard: bool,
}

impl Announcing {
    /// An announcement was published, for the first time or again.
    pub(crate) fn published(&mut self, frame: Frame, published: Published, now: Instant) {
        self.sent = Some(Sent { frame, at: now, heard: matches!(published, Published::Queued { .. }) });
    }

    /// What to send now. `somebody` says whether anybody follows the topic.
    pub(crate) fn due(&self, somebody: bool, every: Duration, now: Instant) -> Option<Frame> {
        let sent = self.sent.as_ref()?;
        let wait = if sent.heard { every } else { SOON.min(every) };
        (somebody && now >= sent.at + wait).then(|| sent.frame.clone())
    }

    pub(crate) fn frame(&self) -> Option<&Frame> {
        self.sent.as_ref().map(|sent| &sent.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Node;

    #[test]
    fn it_is_sent_now_and_then_and_soon_when_nobody_heard_it() {
        let (every, start) = (Duration::from_secs(120), Instant::now());
        let frame = Node::new(1, "seoul", "jung").announcement();
        let mut announcing = Announcing::default();
        assert_eq!(announcing.due(true, every, start), None);
        announcing.published(frame.clone(), Published::NoPeers, start);
        assert_eq!(announcing.due(false, every, start + every), None);
        assert_eq!(announcing.due(true, every, start + SOON), Some(frame.clone()));
        announcing.published(frame.clone(), Published::Queued { peers: 1 }, start + SOON);
        assert_eq!(announcing.due(true, every, start + every), None);
        assert_eq!(announcing.due(true, every, start + SOON + every), Some(frame));
    }
}
