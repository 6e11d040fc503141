//! One node's frames, as they come. Cities of them at random are in `tests/gaps`.

use reading::{EpochRange, Previous};

use super::*;
use crate::gaps::{Answer, GapLimits, Question, Sight, Since};
use crate::history::Summary;

const NODE: NodeId = NodeId([7; 32]);
const A: Epoch = Epoch([2; 8]);
/// The later run; that its epoch is the lesser number means nothing.
const B: Epoch = Epoch([1; 8]);
const SECOND: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(100);

/// A subscriber of one node.
struct Reader {
    gaps: Gaps,
    order: Order<(Epoch, u64)>,
    now: Duration,
    out: Vec<((Epoch, u64), bool)>,
}

impl Reader {
    fn new(limits: OrderLimits) -> Self {
        let (mut gaps, mut order) = (Gaps::new(GapLimits::default(), 1), Order::new(limits));
        gaps.want(NODE, Since::Beginning);
        order.want(NODE, Duration::ZERO);
        Self { gaps, order, now: SECOND, out: Vec::new() }
    }

    /// One whose node has said that it has these runs.
    fn introduced(limits: OrderLimits, runs: &[(Epoch, u64)]) -> Self {
        let mut reader = Self::new(limits);
        reader.gaps.connected(&NODE.to_string());
        reader.tell(runs);
        reader
    }

    fn tell(&mut self, runs: &[(Epoch, u64)]) {
        let ask = self.gaps.ask(self.now).unwrap();
        assert!(matches!(ask.question, Question::Summary { .. }));
        let range = |&(epoch, last_seq): &(Epoch, u64)| EpochRange {
            epoch,
            first_seq: 1,
            last_seq,
            frames: last_seq,
            gone_to: 0,
        };
        let summary = Summary { runs: runs.iter().map(range).collect(), ..Summary::default() };
        self.gaps.answered(ask.ticket, Answer::Summary(summary), self.now);
        self.release();
    }

    fn hear(&mut self, epoch: Epoch, seq: u64) {
        let id = FrameId { node: NODE, epoch, seq };
        if !self.order.takes(&self.gaps, id) {
            self.gaps.note(id);
        } else if self.gaps.see(id) == Sight::First {
            self.order.put(id, (epoch, seq), 100);
        }
        self.release();
    }

    /// Lets everything that is asked for come; says what that was.
    fn fetch(&mut self) -> Vec<(Epoch, u64)> {
        let mut fetched = Vec::new();
        while let Some(ask) = self.gaps.ask(self.now) {
            let Question::Frames { epoch, seqs } = ask.question else { panic!("{ask:?}") };
            for seq in seqs.clone() {
                let id = FrameId { node: NODE, epoch, seq };
                if self.gaps.see(id) == Sight::First {
                    self.order.put(id, (epoch, seq), 100);
                }
                fetched.push((epoch, seq));
            }
            let answer = Answer::Frames { next_seq: seqs.end() + 1, frames: seqs.count() as u64 };
            self.gaps.answered(ask.ticket, answer, self.now);
            self.release();
        }
        fetched
    }

    fn release(&mut self) {
        let mut out = VecDeque::new();
        self.order.release(&mut self.gaps, NODE, self.now, &mut out);
        self.out.extend(out.into_iter().map(|released| (released.item, released.late)));
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.release();
    }

    /// What came, in its turn.
    fn came(&self) -> Vec<(Epoch, u64)> {
        assert!(self.out.iter().all(|(_, late)| !late), "{:?}", self.out);
        self.out.iter().map(|(frame, _)| *frame).collect()
    }
}

fn all(epoch: Epoch, last: u64) -> impl Iterator<Item = (Epoch, u64)> {
    (1..=last).map(move |seq| (epoch, seq))
}

#[test]
fn live_frames_wait_for_what_came_before_them() {
    let mut reader = Reader::introduced(OrderLimits::default(), &[(A, 5)]);
    reader.hear(A, 6);
    reader.hear(A, 9);
    assert_eq!(reader.came(), []);
    reader.fetch();
    assert_eq!(reader.came(), all(A, 9).collect::<Vec<_>>());
    assert!(reader.order.is_settled(&NODE));
}

#[test]
fn runs_come_in_the_order_that_their_node_tells() {
    let mut reader = Reader::introduced(OrderLimits::default(), &[(A, 3), (B, 2)]);
    reader.hear(B, 3);
    reader.fetch();
    assert_eq!(reader.came(), all(A, 3).chain(all(B, 3)).collect::<Vec<_>>());
}

#[test]
fn a_new_run_waits_for_the_end_of_the_one_before() {
    let mut reader = Reader::introduced(OrderLimits::default(), &[(A, 3)]);
    reader.fetch();
    reader.hear(B, 1);
    assert_eq!(reader.came().len(), 4, "nobody has said yet that there is more of the run before");
    let mut reader = Reader::introduced(OrderLimits::default(), &[(A, 3)]);
    reader.fetch();
    reader.gaps.announced(NODE, B, Previous { epoch: A, last_seq: 5 });
    reader.hear(B, 1);
    assert_eq!(reader.came().len(), 3);
    reader.fetch();
    assert_eq!(reader.came(), all(A, 5).chain(all(B, 1)).collect::<Vec<_>>());
}

#[test]
fn who_knows_nothing_yet_waits_for_the_node_itself_but_not_for_ever() {
    let mut reader = Reader::new(OrderLimits::default());
    reader.hear(A, 1);
    assert_eq!(reader.came(), []);
    assert!(!reader.order.is_settled(&NODE));
    reader.wait(OrderLimits::default().author_patience);
    assert_eq!(reader.came(), [(A, 1)], "nobody is connected who could be asked");
    assert!(reader.order.is_settled(&NODE));
}

#[test]
fn what_nobody_offers_is_waited_for_a_while_and_comes_late_then() {
    let mut reader = Reader::new(OrderLimits::default());
    reader.now = LATER;
    [1, 2, 5, 6, 8].into_iter().for_each(|seq| reader.hear(A, seq));
    assert_eq!(reader.came().len(), 2);
    assert!(!reader.order.all_settled());
    reader.wait(OrderLimits::default().patience);
    assert_eq!(reader.came(), [1, 2, 5, 6, 8].map(|seq| (A, seq)), "every hole that was there then is passed over");
    assert!(reader.order.all_settled());
    reader.hear(A, 10);
    assert_eq!(reader.came().len(), 5, "a new hole is waited for again");
    reader.hear(A, 3);
    assert_eq!(reader.out.last(), Some(&((A, 3), true)));
    reader.hear(A, 9);
    assert_eq!(reader.out[6..], [((A, 9), false), ((A, 10), false)]);
}

#[test]
fn for_what_there_is_no_room_it_is_fetched_in_its_turn() {
    let limits = OrderLimits { frames_per_node: 3, ..OrderLimits::default() };
    let mut reader = Reader::introduced(limits, &[(A, 600)]);
    for seq in 601..=1000 {
        reader.hear(A, seq);
        assert!(reader.order.held_frames(&NODE) <= 3);
    }
    let fetched = reader.fetch();
    assert_eq!(reader.came(), all(A, 1000).collect::<Vec<_>>());
    assert_eq!(fetched.len(), 997, "but for those that were held, each was fetched once");
    assert_eq!((reader.order.held_bytes(), reader.order.held_frames(&NODE)), (0, 0));
}

#[test]
fn bytes_of_all_nodes_are_bounded_and_the_next_in_turn_is_always_let_through() {
    let limits = OrderLimits { bytes: 250, ..OrderLimits::default() };
    let mut reader = Reader::introduced(limits, &[(A, 2)]);
    for seq in 3..=20 {
        reader.hear(A, seq);
        assert!(reader.order.held_bytes() <= 300);
    }
    reader.hear(A, 1);
    assert_eq!(reader.came(), [(A, 1)]);
    reader.hear(A, 2);
    assert_eq!(reader.came(), all(A, 5).collect::<Vec<_>>());
    reader.fetch();
    assert_eq!(reader.came(), all(A, 20).collect::<Vec<_>>());
}
