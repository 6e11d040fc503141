//! Any sequence of appends and openings gives what a map would give.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reading::{Frame, FrameId};

use crate::tail::in_memory;
use crate::{Folder, Node};

#[derive(Clone, Debug)]
enum Step {
    /// Frames of a run, by their numbers from 1, in any order, repeats included.
    Append {
        run: usize,
        seqs: Vec<usize>,
    },
    Sync,
    Reopen,
}

const RUNS: usize = 3;
const FRAMES: usize = 40;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..RUNS, prop::collection::vec(1..=FRAMES, 0..12)).prop_map(|(run, seqs)| Step::Append { run, seqs }),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map(with_tail: bool, steps in prop::collection::vec(step(), 1..30)) {
        let mut nodes = [Node::new(1, 1), Node::new(1, 2), Node::new(2, 1)];
        let frames: Vec<Vec<Frame>> = nodes.iter_mut().map(|node| node.frames(FRAMES)).collect();
        let (folder, memory) = (Folder::new(), in_memory());
        let open = || {
            let mut store = folder.open();
            if with_tail {
                store.keep_tail(memory.path()).unwrap();
            }
            store
        };
        let mut store = open();
        let mut model: BTreeMap<FrameId, Frame> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Append { run, seqs } => {
                    let batch: Vec<Frame> = seqs.iter().map(|seq| frames[run][seq - 1].clone()).collect();
                    let before = model.len();
                    model.extend(batch.iter().map(|frame| (frame.id(), frame.clone())));
                    prop_assert_eq!(store.append(&batch).unwrap(), model.len() - before);
                }
                Step::Sync => store.sync().unwrap(),
                Step::Reopen => {
                    drop(store);
                    store = open();
                }
            }
            prop_assert_eq!(store.frames(), model.len() as u64);
        }
        for node in &nodes {
            let (key, epoch) = (node.author.node(), node.author.epoch());
            let expected: Vec<Frame> = model.range(node.id(0)..=node.id(u64::MAX)).map(|(_, frame)| frame.clone()).collect();
            prop_assert_eq!(store.last_seq(key, epoch).unwrap(), expected.last().map_or(0, Frame::seq));
            let range = store.epochs(key).unwrap().into_iter().find(|range| range.epoch == epoch);
            prop_assert_eq!(range.map(|range| (range.first_seq, range.frames)),
                expected.first().map(|first| (first.seq(), expected.len() as u64)));
            // By pages of any size.
            for max_bytes in [0, 1000, usize::MAX] {
                let mut read = Vec::new();
                let mut from = 0;
                loop {
                    let batch = store.range(key, epoch, from..=u64::MAX, max_bytes).unwrap();
                    read.extend(batch.frames);
                    if !batch.more { break }
                    from = batch.next_seq;
                }
                prop_assert_eq!(&read, &expected);
            }
        }
    }
}
