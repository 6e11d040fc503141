//! The queue between the swarm's task and the program. The swarm never waits for the program: what does not fit is dropped and counted.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::handle::{Events, MeshEvent};

#[derive(Debug)]
pub(crate) struct EventQueue {
    queue: mpsc::Sender<MeshEvent>,
    dropped: u64,
}

impl EventQueue {
    /// A queue of so many events, and its other end.
    pub(crate) fn new(capacity: usize) -> (Self, Events) {
        let (queue, events) = mpsc::channel(capacity.max(2));
        (Self { queue, dropped: 0 }, Events { queue: events })
    }

    /// Queues an event. False when it was dropped because the queue is full; a program that gave up its end wants nothing.
    pub(crate) fn send(&mut self, event: MeshEvent) -> bool {
        if !self.confess() {
            self.dropped += 1;
            return false;
        }
        match self.queue.try_send(event) {
            Ok(()) | Err(TrySendError::Closed(_)) => true,
            Err(TrySendError::Full(_)) => {
                self.dropped += 1;
                false
            }
        }
    }

    /// Says how many were dropped, as soon as there is room. False while there is none.
    pub(crate) fn confess(&mut self) -> bool {
        if self.dropped > 0 {
            if let Err(TrySendError::Full(_)) = self.queue.try_send(MeshEvent::Lagged { dropped: self.dropped }) {
                return false;
            }
            self.dropped = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_program_is_told_what_it_missed_where_it_missed_it() {
        let (mut queue, mut events) = EventQueue::new(2);
        let event = |number: usize| MeshEvent::AreasLeftOut { topics: number };
        let kept: Vec<bool> = (0..5).map(|number| queue.send(event(number))).collect();
        assert_eq!(kept, [true, true, false, false, false]);
        for _ in 0..2 {
            assert!(matches!(events.next().await, Some(MeshEvent::AreasLeftOut { .. })));
        }
        assert!(queue.send(event(5)));
        assert!(matches!(events.next().await, Some(MeshEvent::Lagged { dropped: 3 })));
        assert!(matches!(events.next().await, Some(MeshEvent::AreasLeftOut { topics: 5 })));
        drop(events);
        assert!(queue.send(event(6)), "nobody listens, nothing is missed");
    }
}
