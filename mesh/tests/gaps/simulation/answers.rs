//! What the peers of a simulated city answer.

use std::ops::RangeInclusive;
use std::time::Duration;

use mesh::{Answer, Ask, Question, Ranges};
use reading::{Epoch, FrameId, NodeId};

use super::{Author, City, PAGE};
use crate::holder::{Manner, Shelf, boast};

impl City {
    pub(super) fn check_not_told(&self, peer: usize, ask: &Ask) {
        if let Question::Frames { epoch, seqs } = &ask.question
            && let Some((lacks, ..)) = self.lacks.get(&(peer, ask.node, *epoch))
        {
            assert!(
                !lacks.iter().any(|part| part.start() <= seqs.end() && seqs.start() <= part.end()),
                "asked {ask:?} again"
            );
        }
    }

    pub(super) fn answer(&mut self, ticket: u64) {
        let Some((ask, peer)) = self.asked.remove(&ticket) else { return };
        if ask.peer.is_empty() {
            return self.engine.answered(ticket, Answer::Failed, self.now);
        }
        let answer = match (self.peers[peer].1.manner, &ask.question) {
            (Manner::Busy, _) => Answer::Busy { retry_after: Duration::from_secs(3) },
            (Manner::Foreign, _) => Answer::Unsupported,
            (Manner::Honest, Question::Summary { since }) => {
                let none = Shelf::default();
                let shelf = self.peers[peer].1.shelves.get(&ask.node).unwrap_or(&none);
                Answer::Summary(shelf.summary(*since, |epoch, seq| self.made[&FrameId { node: ask.node, epoch, seq }]))
            }
            (_, Question::Summary { .. }) => {
                let runs = self.author(ask.node).runs.clone();
                Answer::Summary(boast(&runs, &mut self.random))
            }
            (Manner::Forges, _) => Answer::Wrong,
            (Manner::Promises, Question::Frames { seqs, .. }) => {
                Answer::Frames { next_seq: seqs.end().saturating_add(1), frames: 0 }
            }
            (_, Question::Frames { epoch, seqs }) => {
                let (epoch, seqs) = (*epoch, seqs.clone());
                self.send(peer, ask.node, epoch, seqs)
            }
        };
        self.note_lacks(peer, &ask, &answer);
        self.engine.answered(ticket, answer, self.now);
        self.release(ask.node);
    }

    fn send(&mut self, peer: usize, node: NodeId, epoch: Epoch, seqs: RangeInclusive<u64>) -> Answer {
        let held =
            self.peers[peer].1.shelves.get(&node).and_then(|shelf| shelf.held(epoch)).cloned().unwrap_or_default();
        let there = held.iter().flat_map(|part| *part.start().max(seqs.start())..=*part.end().min(seqs.end()));
        let mut next_seq = seqs.end().saturating_add(1);
        let mut frames = Vec::new();
        for seq in there {
            if frames.len() as u64 == PAGE {
                next_seq = seq;
                break;
            }
            frames.push(FrameId { node, epoch, seq });
        }
        let count = frames.len() as u64;
        for id in frames {
            let author = self.author(node);
            let previous = author.previous.filter(|_| id.seq == 1 && id.epoch == author.epoch);
            self.see(id, previous);
        }
        Answer::Frames { next_seq, frames: count }
    }

    fn author(&self, node: NodeId) -> &Author {
        // As its key was made.
        &self.nodes[u64::from_be_bytes(node.0[..8].try_into().unwrap()) as usize]
    }

    fn note_lacks(&mut self, peer: usize, ask: &Ask, answer: &Answer) {
        match (answer, &ask.question) {
            (Answer::Frames { next_seq, .. }, Question::Frames { epoch, seqs }) => {
                let held = self.peers[peer].1.shelves.get(&ask.node).and_then(|shelf| shelf.held(*epoch)).cloned();
                let told = self.lacks.entry((peer, ask.node, *epoch)).or_default();
                let mut lacking = Ranges::default();
                lacking.insert(*seqs.start()..=(next_seq - 1).min(*seqs.end()));
                held.unwrap_or_default().iter().for_each(|part| lacking.remove(part));
                lacking.iter().for_each(|part| told.0.insert(part));
            }
            (Answer::Summary(summary), _) => {
                for run in &summary.runs {
                    let told = self.lacks.entry((peer, ask.node, run.epoch)).or_default();
                    if run.frames > told.1 || run.last_seq > told.2 {
                        told.0 = Ranges::default();
                    }
                    (told.1, told.2) = (run.frames, run.last_seq);
                }
            }
            _ => {}
        }
    }
}
