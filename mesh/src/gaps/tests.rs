//! One event after another, and what is asked then. Weeks of them at random are in `tests/gaps`.

use reading::EpochRange;

use super::*;
use crate::history::Summary;

const A: Epoch = Epoch([1; 8]);
const B: Epoch = Epoch([2; 8]);
const NODE: NodeId = NodeId([7; 32]);
const SECOND: Duration = Duration::from_secs(1);

fn id(epoch: Epoch, seq: u64) -> FrameId {
    FrameId { node: NODE, epoch, seq }
}

fn wanting(since: Since, limits: GapLimits) -> Gaps {
    let mut gaps = Gaps::new(limits, 1);
    assert!(gaps.want(NODE, since));
    gaps
}

fn run(epoch: Epoch, first_seq: u64, last_seq: u64, gone_to: u64) -> EpochRange {
    EpochRange { epoch, first_seq, last_seq, frames: last_seq - first_seq + 1, gone_to }
}

/// Everything that is asked at `now`.
fn asks(gaps: &mut Gaps, now: Duration) -> Vec<Ask> {
    std::iter::from_fn(|| gaps.ask(now)).collect()
}

fn only(asks: Vec<Ask>) -> Ask {
    let [ask] = <[Ask; 1]>::try_from(asks).unwrap();
    ask
}

/// Asks `peer` what it has, and lets it answer.
fn introduce(gaps: &mut Gaps, peer: &str, summary: Summary, now: Duration) {
    gaps.connected(peer);
    let ask = only(asks(gaps, now));
    assert!(matches!((&*ask.peer, &ask.question), (asked, Question::Summary { .. }) if asked == peer));
    gaps.answered(ask.ticket, Answer::Summary(summary), now);
}

/// Lets the asked peer send what it has of `seqs`.
fn send(gaps: &mut Gaps, ask: &Ask, has: RangeInclusive<u64>, now: Duration) {
    let Question::Frames { epoch, seqs } = &ask.question else { panic!("{ask:?}") };
    let sent = (*has.start()).max(*seqs.start())..=(*has.end()).min(*seqs.end());
    let frames = sent.clone().count() as u64;
    for seq in sent {
        gaps.see(id(*epoch, seq));
    }
    gaps.answered(ask.ticket, Answer::Frames { next_seq: seqs.end() + 1, frames }, now);
}

fn summary(runs: Vec<EpochRange>) -> Summary {
    Summary { runs, ..Summary::default() }
}

#[test]
fn a_hole_between_live_frames_is_fetched_from_whoever_has_it() {
    let mut gaps = wanting(Since::Beginning, GapLimits::default());
    for seq in [1, 2, 5] {
        assert_eq!(gaps.see(id(A, seq)), Sight::First);
    }
    assert_eq!(gaps.see(id(A, 2)), Sight::Repeat);
    assert_eq!(gaps.see(FrameId { node: NodeId([8; 32]), ..id(A, 1) }), Sight::Unwanted);
    assert_eq!(gaps.missing(&NODE), [(A, 3..=4)]);
    assert_eq!(gaps.standing(&NODE), Standing::Stuck);
    introduce(&mut gaps, "neighbour", summary(vec![run(A, 1, 9, 0)]), SECOND);
    assert_eq!(gaps.standing(&NODE), Standing::Waiting);
    let wanted = asks(&mut gaps, SECOND);
    let questions: Vec<_> = wanted.iter().map(|ask| ask.question.clone()).collect();
    assert_eq!(questions, [Question::Frames { epoch: A, seqs: 3..=4 }, Question::Frames { epoch: A, seqs: 6..=9 }]);
    wanted.iter().for_each(|ask| send(&mut gaps, ask, 1..=9, SECOND));
    assert_eq!((gaps.missing(&NODE), gaps.standing(&NODE)), (vec![], Standing::Complete));
}

#[test]
fn what_the_author_no_longer_has_is_gone_and_taken_all_the_same_when_another_has_it() {
    let mut gaps = wanting(Since::Beginning, GapLimits::default());
    let author = NODE.to_string();
    introduce(&mut gaps, &author, summary(vec![run(A, 21, 30, 20), run(B, 1, 5, 0)]), SECOND);
    for ask in asks(&mut gaps, SECOND) {
        // Two frames of the first run were lost in a power cut.
        send(
            &mut gaps,
            &ask,
            if matches!(ask.question, Question::Frames { epoch: A, .. }) { 21..=28 } else { 1..=5 },
            SECOND,
        );
    }
    let gone = |first, last, by_retention| Gone { epoch: A, seqs: first..=last, by_retention };
    assert_eq!(gaps.gone(&NODE), [gone(1, 20, true), gone(29, 30, false)]);
    assert_eq!(gaps.standing(&NODE), Standing::Complete);
    introduce(&mut gaps, "cache", summary(vec![run(A, 11, 30, 0)]), 2 * SECOND);
    let wanted = asks(&mut gaps, 2 * SECOND);
    wanted.iter().for_each(|ask| send(&mut gaps, ask, 11..=30, 2 * SECOND));
    assert_eq!(gaps.gone(&NODE), [gone(1, 10, true)]);
}

#[test]
fn a_node_that_could_not_answer_is_asked_again_soon_though_nothing_is_missing_that_is_known() {
    let mut gaps = wanting(Since::Time { time_us: 0 }, GapLimits::default());
    // What it had before nobody has said.
    gaps.see(id(A, 11));
    let author = NODE.to_string();
    gaps.connected(&author);
    let ask = only(asks(&mut gaps, SECOND));
    gaps.answered(ask.ticket, Answer::Failed, SECOND);
    let again = only(asks(&mut gaps, 10 * SECOND));
    assert_eq!((&*again.peer, again.question), (&*author, ask.question));
}

#[test]
fn the_run_before_is_missed_as_far_as_the_announcement_says() {
    let mut gaps = wanting(Since::Beginning, GapLimits::default());
    gaps.see(id(B, 1));
    gaps.announced(NODE, B, Previous { epoch: A, last_seq: 40 });
    assert_eq!(gaps.missing(&NODE), [(A, 1..=40)]);
    gaps.hold(NODE, A, 1..=35);
    assert_eq!(gaps.missing(&NODE), [(A, 36..=40)]);
}

#[test]
fn since_a_time_begins_where_a_holder_says_and_with_the_later_runs() {
    let mut gaps = wanting(Since::Time { time_us: 5 }, GapLimits::default());
    let runs = vec![run(Epoch([9; 8]), 1, 50, 0), run(A, 1, 30, 0), run(B, 1, 3, 0)];
    introduce(&mut gaps, &NODE.to_string(), Summary { first: Some((A, 21)), runs, older: false }, SECOND);
    let wanted = asks(&mut gaps, SECOND);
    let questions: Vec<_> = wanted.into_iter().map(|ask| ask.question).collect();
    assert_eq!(questions, [Question::Frames { epoch: A, seqs: 21..=30 }, Question::Frames { epoch: B, seqs: 1..=3 }]);
    assert_eq!(gaps.missing(&NODE), [(A, 21..=30), (B, 1..=3)]);
}

#[test]
fn who_lacks_what_it_promised_rests_and_another_is_asked() {
    let mut gaps = wanting(Since::Beginning, GapLimits::default());
    gaps.see(id(A, 10));
    introduce(&mut gaps, "liar", summary(vec![run(A, 1, 9, 0)]), SECOND);
    let ask = only(asks(&mut gaps, SECOND));
    gaps.answered(ask.ticket, Answer::Frames { next_seq: 10, frames: 0 }, SECOND);
    assert_eq!(gaps.standing(&NODE), Standing::Stuck);
    assert_eq!(gaps.missing(&NODE), [(A, 1..=9)], "a lie proves nothing gone");
    introduce(&mut gaps, "honest", summary(vec![run(A, 1, 10, 0)]), SECOND);
    let ask = only(asks(&mut gaps, SECOND));
    assert_eq!((&*ask.peer, &ask.question), ("honest", &Question::Frames { epoch: A, seqs: 1..=9 }));
    send(&mut gaps, &ask, 1..=10, SECOND);
    assert_eq!(gaps.standing(&NODE), Standing::Complete);
}

#[test]
fn who_forges_or_speaks_no_such_protocol_is_left_alone_until_it_comes_back() {
    for (answer, times) in [(Answer::Unsupported, 1), (Answer::Wrong, 4)] {
        let mut gaps = wanting(Since::Beginning, GapLimits::default());
        gaps.see(id(A, 2));
        gaps.connected("peer");
        let mut now = SECOND;
        for _ in 0..times {
            let ask = std::iter::from_fn(|| {
                now += SECOND;
                Some(gaps.ask(now))
            });
            let ask = ask.take(1000).flatten().next().unwrap();
            gaps.answered(ask.ticket, answer.clone(), now);
        }
        assert_eq!(asks(&mut gaps, now + 100_000 * SECOND), []);
        gaps.disconnected("peer");
        gaps.connected("peer");
        assert_eq!(asks(&mut gaps, now + 100_000 * SECOND).len(), 1);
    }
}

#[test]
fn an_answer_after_the_end_of_its_connection_changes_nothing_and_its_question_is_asked_of_another() {
    let mut gaps = wanting(Since::Beginning, GapLimits::default());
    introduce(&mut gaps, "gone", summary(vec![run(A, 1, 9, 0)]), SECOND);
    let ask = only(asks(&mut gaps, SECOND));
    gaps.disconnected("gone");
    gaps.answered(ask.ticket, Answer::Frames { next_seq: 10, frames: 0 }, SECOND);
    introduce(&mut gaps, "there", summary(vec![run(A, 1, 9, 0)]), SECOND);
    assert_eq!(only(asks(&mut gaps, SECOND)).question, ask.question);
    assert_eq!(gaps.size().in_flight, 1);
}

#[test]
fn nodes_take_turns_when_there_is_more_to_ask_than_may_be() {
    let mut gaps = Gaps::new(GapLimits { in_flight_per_node: 1, ..GapLimits::default() }, 1);
    let nodes: Vec<NodeId> = (1..=5).map(|number| NodeId([number; 32])).collect();
    nodes.iter().for_each(|node| assert!(gaps.want(*node, Since::Beginning)));
    gaps.connected("cache");
    let mut asked: BTreeMap<NodeId, u32> = BTreeMap::new();
    while asked.values().sum::<u32>() < 50 {
        for ask in asks(&mut gaps, SECOND) {
            let answer = match ask.question {
                Question::Summary { .. } => Answer::Summary(summary(vec![run(A, 1, 1_000_000, 0)])),
                Question::Frames { seqs, .. } => {
                    *asked.entry(ask.node).or_default() += 1;
                    for seq in seqs.clone() {
                        gaps.see(FrameId { node: ask.node, epoch: A, seq });
                    }
                    Answer::Frames { next_seq: seqs.end() + 1, frames: 256 }
                }
            };
            gaps.answered(ask.ticket, answer, SECOND);
        }
    }
    assert!(asked.len() == 5 && asked.values().all(|count| (8..=12).contains(count)), "{asked:?}");
}

#[test]
fn too_many_holes_are_given_up_from_below_and_counted_and_nothing_comes_twice() {
    let limits = GapLimits { ranges_per_run: 8, ..GapLimits::default() };
    let mut gaps = wanting(Since::Beginning, limits);
    for seq in (1..=100).map(|number| 2 * number) {
        assert_eq!(gaps.see(id(A, seq)), Sight::First, "{seq}");
        assert!(gaps.size().ranges <= 8);
    }
    let missing: u64 = gaps.missing(&NODE).iter().map(|(_, seqs)| seqs.end() - seqs.start() + 1).sum();
    assert_eq!(missing + gaps.given_up(&NODE), 100);
    assert!(missing >= 7, "the newest holes are still sought: {missing}");
    assert_eq!(gaps.see(id(A, 1)), Sight::Repeat, "what was given up is not delivered late");
    assert_eq!(gaps.see(id(A, 199)), Sight::First);
    (1..=200).for_each(|seq| assert!(seq == 199 || gaps.see(id(A, seq)) == Sight::Repeat || seq > 180));
}

#[test]
fn all_runs_together_have_a_limit_and_the_most_scattered_gives_way() {
    let mut gaps = wanting(Since::Beginning, GapLimits { ranges: 100, ..GapLimits::default() });
    let other = NodeId([9; 32]);
    gaps.want(other, Since::Beginning);
    for seq in 1..=20 {
        gaps.see(FrameId { node: other, epoch: A, seq: 2 * seq });
    }
    for seq in 1..=200 {
        gaps.see(id(A, 2 * seq));
        assert!(gaps.size().ranges <= 100);
    }
    assert!(gaps.given_up(&NODE) > 0);
    assert_eq!(gaps.given_up(&other), 0);
}

#[test]
fn of_too_many_runs_the_first_is_forgotten_and_never_fetched_again() {
    let mut gaps = wanting(Since::Beginning, GapLimits { runs_per_node: 3, ..GapLimits::default() });
    let epochs: Vec<Epoch> = (1..=5).map(|number| Epoch([number; 8])).collect();
    for epoch in &epochs {
        assert_eq!(gaps.see(id(*epoch, 1)), Sight::First);
    }
    assert!(gaps.has_forgotten_runs(&NODE));
    let all = epochs.iter().map(|epoch| run(*epoch, 1, 2, 0)).collect();
    introduce(&mut gaps, "cache", summary(all), SECOND);
    let asked: Vec<Question> = asks(&mut gaps, SECOND).into_iter().map(|ask| ask.question).collect();
    assert_eq!(asked.len(), 2, "two at once: {asked:?}");
    assert!(asked.iter().all(|question| matches!(question, Question::Frames { epoch, .. } if epoch.0[0] > 2)));
}

#[test]
fn boasts_take_no_more_memory_than_allowed() {
    let mut gaps = wanting(Since::Beginning, GapLimits { claims: 50, ..GapLimits::default() });
    let boast = |from: u64| (from..from + 40).map(|number| run(Epoch(number.to_le_bytes()), 1, 9, 0)).collect();
    let mut now = SECOND;
    for peer in 0..5 {
        gaps.connected(&format!("boaster-{peer}"));
        for _ in 0..100 {
            now += SECOND;
            for ask in asks(&mut gaps, now) {
                let answer = match ask.question {
                    Question::Summary { .. } => Answer::Summary(summary(boast(1000 * peer))),
                    Question::Frames { seqs, .. } => Answer::Frames { next_seq: seqs.end() + 1, frames: 0 },
                };
                gaps.answered(ask.ticket, answer, now);
                assert!(gaps.size().claims <= 50, "{:?}", gaps.size());
            }
        }
    }
    assert_eq!(gaps.missing(&NODE), []);
}
