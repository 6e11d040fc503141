//! Learning from peers who else there is, and telling them.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::request_response::{Event, Message, OutboundFailure, ResponseChannel};
use reading::{Frame, FrameError};

use super::Task;
use crate::directory::Observed;
use crate::handle::MeshEvent;
use crate::metrics::Exchanged;
use crate::protocol::{PAGE_BYTES, Request, Response};

/// What others know is less urgent without any interest, and to a node: the gossip that it relays tells it of its neighbours. An exchange
/// without news has 300 bytes in five packets: with ten such peers some 40 MB a day, both ways and headers included, and 120 MB without this.
const UNHURRIED: u32 = 3;

impl Task {
    pub(super) fn ask_directories(&mut self, now: Instant) {
        for (id, peer) in &mut self.peers {
            if let Some(after) = peer.exchange.ask(now) {
                let request = Request { city: None, after };
                let request = self.swarm.behaviour_mut().directory.send_request(id, request);
                self.requests.insert(request, *id);
            }
        }
    }

    pub(super) fn on_directory(&mut self, event: Event<Request, Response>) {
        let now = Instant::now();
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.answer_request(peer, &request, channel, now);
            }
            Event::Message { peer, message: Message::Response { request_id, response }, .. } => {
                self.requests.remove(&request_id);
                self.metrics.exchanged(Exchanged::Asked);
                self.take_page(peer, &response, now);
                self.ask_directories(now);
            }
            Event::OutboundFailure { peer, request_id, error, .. } => {
                self.requests.remove(&request_id);
                self.metrics.exchanged(Exchanged::AskedInVain);
                tracing::debug!(%peer, %error, "directory not answered");
                let refresh = self.refresh();
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.exchange.failed(refresh, now);
                    peer.foreign |= matches!(error, OutboundFailure::UnsupportedProtocols);
                }
            }
            Event::InboundFailure { peer, error, .. } => tracing::debug!(%peer, %error, "directory not taken"),
            Event::ResponseSent { .. } => {}
        }
    }

    fn answer_request(&mut self, peer: PeerId, request: &Request, channel: ResponseChannel<Response>, now: Instant) {
        if !self.peers.get_mut(&peer).is_some_and(|peer| peer.exchange.answers(now)) {
            // Dropping the channel closes the stream: the peer asks again later.
            return self.metrics.exchanged(Exchanged::Refused);
        }
        let page = self.directory.page(request.city.as_ref(), request.after, PAGE_BYTES);
        let frames = page.frames.iter().map(|frame| frame.bytes().to_vec()).collect();
        let response = Response { next: page.next, more: page.more, frames };
        self.metrics.exchanged(Exchanged::Answered);
        // An error means that the peer has gone.
        let _ = self.swarm.behaviour_mut().directory.send_response(channel, response);
    }

    fn take_page(&mut self, from: PeerId, response: &Response, now: Instant) {
        let mut wrong = 0;
        for bytes in &response.frames {
            if self.directory.holds(bytes) {
                continue;
            }
            match Frame::verify(bytes) {
                // A newer program's; it will reach those who can read it.
                Err(FrameError::UnknownVersion(_)) => {}
                Err(_) => wrong += 1,
                // What others remember of us is never newer than what we know.
                Ok(frame) if frame.node() == self.own => {}
                Ok(frame) => match self.learn(&frame, false) {
                    Observed::Nothing => wrong += 1,
                    Observed::New => self.on_learned(frame, from),
                    Observed::Known | Observed::Older => {}
                },
            }
        }
        if wrong > 0
            && let Some(times) = self.occasions.take("directory", now)
        {
            tracing::warn!(%from, wrong, times, "a directory has entries that are no announcements");
        }
        let refresh = self.refresh();
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.exchange.answered(response.next, response.more, wrong, refresh, now);
        }
    }

    fn on_learned(&mut self, frame: Frame, from: PeerId) {
        self.metrics.learned.inc();
        if self.wants_node(&frame.node()) {
            self.tell(MeshEvent::Frame { frame, from: self.name(&from), live: false });
        }
    }

    fn refresh(&self) -> Duration {
        let hurries = self.member.is_none() && !self.interest.is_empty();
        if hurries { self.config.timing.refresh } else { self.config.timing.refresh * UNHURRIED }
    }
}
