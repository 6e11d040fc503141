//! Asking peers for their history, and answering for the program's.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::request_response::{Event, Message, OutboundFailure, ResponseChannel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Task;
use crate::history::{ANSWER_BYTES, Batch, History, HistoryError, MAX_RUNS, Request, Response, Summary};
use crate::metrics::Told;

/// Questions to peers that wait for an answer; whoever asks more is told so.
const MAX_ASKED: usize = 64;
/// How long the program may take to find an answer. The peer waits longer, so that it hears of it.
const FINDING: Duration = Duration::from_secs(8);
/// When a peer whose question could not be answered may come back.
const COME_BACK: Duration = Duration::from_secs(2);

/// Where an answer goes.
pub(super) type Asker = oneshot::Sender<Result<Response, HistoryError>>;
/// Where a peer's answer goes.
pub(super) type Waiting = (Request, ResponseChannel<Response>);

impl Task {
    pub(super) fn ask_history(&mut self, peer: &str, request: Request, reply: Asker) {
        let peer_id = peer.parse::<PeerId>().ok().filter(|peer| self.peers.contains_key(peer));
        // Whoever gave up waiting has made room.
        self.history_asked.retain(|_, asker| !asker.is_closed());
        let refused = match peer_id {
            None => HistoryError::NotConnected(peer.to_owned()),
            Some(_) if self.history_asked.len() >= MAX_ASKED => HistoryError::TooMany(MAX_ASKED),
            Some(peer) => {
                let id = self.swarm.behaviour_mut().history.send_request(&peer, request);
                self.history_asked.insert(id, reply);
                return;
            }
        };
        // Nobody waits for it: no harm.
        let _ = reply.send(Err(refused));
    }

    pub(super) fn on_history(&mut self, event: Event<Request, Response>) {
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.take_turn(peer, request, channel);
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                let told = if matches!(response, Response::Busy { .. }) { Told::AskedBusy } else { Told::Asked };
                self.metrics.told(told);
                if let Some(asker) = self.history_asked.remove(&request_id) {
                    let _ = asker.send(Ok(response));
                }
            }
            Event::OutboundFailure { peer, request_id, error, .. } => {
                self.metrics.told(Told::AskedInVain);
                tracing::debug!(%peer, %error, "history not answered");
                let error = match error {
                    OutboundFailure::UnsupportedProtocols => HistoryError::Unsupported,
                    error => HistoryError::Failed(error.to_string()),
                };
                if let Some(asker) = self.history_asked.remove(&request_id) {
                    let _ = asker.send(Err(error));
                }
            }
            Event::InboundFailure { peer, error, .. } => tracing::debug!(%peer, %error, "history not taken"),
            Event::ResponseSent { .. } => {}
        }
    }

    fn take_turn(&mut self, peer: PeerId, request: Request, channel: ResponseChannel<Response>) {
        match self.turns.ask(peer, (request, channel), Instant::now()) {
            Ok(()) => self.serve_next(),
            Err(((_, channel), pause)) => self.answer_history(channel, busy(pause)),
        }
    }

    pub(super) fn serve_next(&mut self) {
        let Some(history) = self.config.history.clone() else { return };
        while let Some((_, (request, channel))) = self.turns.next() {
            let history = history.clone();
            self.serving.spawn(async move { (channel, find(&*history, request).await) });
        }
    }

    /// An answer was found, or not in time.
    pub(super) fn served(&mut self, served: Option<(ResponseChannel<Response>, Option<Response>)>) {
        self.turns.done();
        if let Some((channel, response)) = served {
            self.answer_history(channel, response.unwrap_or_else(|| busy(COME_BACK)));
        }
        self.serve_next();
    }

    fn answer_history(&mut self, channel: ResponseChannel<Response>, response: Response) {
        match &response {
            Response::Busy { .. } => self.metrics.told(Told::Refused),
            Response::Summary(_) => self.metrics.told(Told::Answered),
            Response::Frames { frames, .. } => {
                self.metrics.told(Told::Answered);
                self.metrics.frames_served.inc_by(frames.len() as u64);
            }
        }
        // An error means that the peer has gone.
        let _ = self.swarm.behaviour_mut().history.send_response(channel, response);
    }
}

fn busy(pause: Duration) -> Response {
    Response::Busy { retry_after_ms: u32::try_from(pause.as_millis()).unwrap_or(u32::MAX) }
}

/// Asks the program for what a peer wants. `None` when it has no answer, or not in time.
async fn find(history: &dyn History, request: Request) -> Option<Response> {
    match request {
        Request::Summary { node, since_us } => {
            let summary = timeout(FINDING, history.summary(node, since_us)).await.ok()??;
            Some(Response::Summary(newest(summary)))
        }
        Request::Frames { node, epoch, from, to, max_bytes } => {
            let max_bytes = usize::try_from(max_bytes).map_or(ANSWER_BYTES, |bytes| bytes.min(ANSWER_BYTES));
            let batch = timeout(FINDING, history.frames(node, epoch, from..=to, max_bytes)).await.ok()??;
            Some(fitting(batch, max_bytes))
        }
    }
}

/// The runs that fit, the newest.
fn newest(mut summary: Summary) -> Summary {
    let too_many = summary.runs.len().saturating_sub(MAX_RUNS);
    summary.older |= too_many > 0;
    summary.runs.drain(..too_many);
    summary
}

/// The frames that fit, whatever the program gave: one at least.
fn fitting(batch: Batch, max_bytes: usize) -> Response {
    let (mut next_seq, mut bytes, mut frames) = (batch.next_seq, 0, Vec::new());
    for frame in batch.frames {
        bytes += frame.bytes().len();
        if bytes > max_bytes && !frames.is_empty() {
            next_seq = frame.seq();
            break;
        }
        frames.push(frame.bytes().to_vec());
    }
    Response::Frames { next_seq, frames }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Node;

    #[test]
    fn an_answer_has_one_frame_at_least_and_ends_before_the_first_that_does_not_fit() {
        let mut node = Node::new(1, "seoul", "jung");
        let frames: Vec<_> = (0..5).map(|_| node.readings(1)).collect();
        let size = frames[0].bytes().len();
        for (max, fit, next) in [(1, 1, 2), (3 * size, 3, 4), (100 * size, 5, 9)] {
            let batch = Batch { frames: frames.clone(), next_seq: 9 };
            let Response::Frames { next_seq, frames } = fitting(batch, max) else { unreachable!() };
            assert_eq!((frames.len(), next_seq), (fit, next));
        }
    }
}
