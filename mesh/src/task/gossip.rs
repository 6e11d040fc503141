//! Messages out and in, and the topics they travel on.

use std::time::{Duration, Instant};

use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, MessageId, PublishError};
use libp2p::{PeerId, gossipsub::Message};
use reading::{Frame, Kind, Label, NodeId, Payload, Selector};

use super::Task;
use crate::admission::{Reason, Verdict};
use crate::directory::Observed;
use crate::error::Error;
use crate::handle::{MeshEvent, Published};
use crate::metrics::What;
use crate::topic::{self, Topic};
use crate::{MAX_PLAIN_BYTES, MAX_TOPICS};

/// Authors that may be shut out at once. Beyond, the one who has waited longest is let in again.
const MAX_BLACKLISTED: usize = 1024;

/// The own announcement is sent again at least this often while a peer has no directory, Kubo for instance: whoever joins later behind
/// such a peer can learn of us by gossip alone, and shows nothing of ours until then. It costs a frame each time.
const ANNOUNCE_BEHIND_FOREIGN: Duration = Duration::from_secs(15);

impl Task {
    pub(super) fn publish(&mut self, frame: Frame) -> Result<Published, Error> {
        if frame.node() != self.own {
            return Err(Error::ForeignFrame { frame: frame.node(), own: self.own });
        }
        let announced = match frame.payload().map_err(Error::Payload)? {
            Payload::Announcement(announcement) => Some(announcement.place),
            _ => None,
        };
        let topic = match (&announced, &self.member) {
            (Some(place), _) => Topic::City(place.city.clone()),
            (None, Some((city, area))) => Topic::Area(city.clone(), area.clone()),
            (None, None) => return Err(Error::NoPlace),
        };
        if let Some(place) = announced {
            self.member = Some((place.city, place.area));
            self.directory.observe_live(&frame);
            self.join_topics();
        }
        let published = self.send(topic.to_string(), frame.bytes())?;
        self.metrics.published(What::Frame, published);
        if frame.kind() == Kind::ANNOUNCEMENT {
            self.announcing.published(frame, published, Instant::now());
        }
        Ok(published)
    }

    pub(super) fn publish_plain(&mut self, topic: &str, line: Vec<u8>) -> Result<Published, Error> {
        topic::check_plain(topic)?;
        if line.len() > MAX_PLAIN_BYTES {
            return Err(Error::PlainTooLong { length: line.len(), max: MAX_PLAIN_BYTES });
        }
        let published = self.send(topic.to_owned(), &line)?;
        self.metrics.published(What::Plain, published);
        Ok(published)
    }

    /// Sends the own announcement again when it is time, and somebody is there to hear it.
    pub(super) fn announce_again(&mut self, now: Instant) {
        let Some((city, _)) = &self.member else { return };
        if self.announcing.frame().is_none() {
            return;
        }
        let topic = Topic::City(city.clone()).to_string();
        let somebody = self.followers(&topic) > 0;
        let foreign = self.peers.values().any(|peer| peer.foreign);
        let every =
            if foreign { self.config.announce_every.min(ANNOUNCE_BEHIND_FOREIGN) } else { self.config.announce_every };
        if let Some(frame) = self.announcing.due(somebody, every, now)
            && let Ok(published) = self.send(topic, frame.bytes())
        {
            self.metrics.published(What::Frame, published);
            self.announcing.published(frame, published, now);
        }
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                self.on_message(propagation_source, &message_id, message);
            }
            gossipsub::Event::SlowPeer { failed_messages, .. } => {
                self.metrics.slow_peers.inc();
                let dropped = failed_messages.priority + failed_messages.non_priority;
                self.metrics.dropped_for_slow_peers.inc_by(u64::try_from(dropped).unwrap_or(u64::MAX));
            }
            // Followers are counted where they are needed.
            gossipsub::Event::Subscribed { .. } | gossipsub::Event::Unsubscribed { .. } => {}
            gossipsub::Event::GossipsubNotSupported { peer_id } => {
                tracing::debug!(peer = %peer_id, "peer speaks no gossipsub");
            }
        }
    }

    /// Every message gets an answer here, or gossipsub would hold it until it expires.
    fn on_message(&mut self, from: PeerId, id: &MessageId, message: Message) {
        match Topic::parse(message.topic.as_str()) {
            Some(topic) => self.on_frame_message(&topic, from, id, &message),
            None => self.on_plain_message(from, id, message),
        }
    }

    fn on_frame_message(&mut self, topic: &Topic, from: PeerId, id: &MessageId, message: &Message) {
        let now = Instant::now();
        let judgement = self.admission.judge(topic, message.source, &message.data, &self.directory, now);
        let acceptance = match judgement.verdict {
            Verdict::Accept(_) | Verdict::Repeat(_) => MessageAcceptance::Accept,
            Verdict::Ignore(_) => MessageAcceptance::Ignore,
            Verdict::Reject(_) => MessageAcceptance::Reject,
        };
        self.answer(id, &from, acceptance);
        self.metrics.judged(&judgement.verdict);
        if judgement.blacklist {
            self.blacklist(message.source, now);
        }
        match judgement.verdict {
            Verdict::Accept(frame) => self.take_in(frame, topic, from, now),
            Verdict::Repeat(frame) => {
                self.directory.observe_live(&frame);
            }
            Verdict::Ignore(reason) => {
                if let Some(times) = self.occasions.take(reason.name(), now) {
                    tracing::debug!(%from, reason = reason.name(), times, "frame ignored");
                }
            }
            Verdict::Reject(reason) => {
                if let Some(times) = self.occasions.take(reason.name(), now) {
                    let author = message.source.map(|source| source.to_string());
                    tracing::warn!(%from, author, reason = reason.name(), times, "frame rejected");
                }
            }
        }
    }

    fn take_in(&mut self, frame: Frame, topic: &Topic, from: PeerId, now: Instant) {
        let wanted = match topic {
            Topic::Area(city, area) => {
                // Described by an announcement that passed us by: whoever brought the frame will have it.
                if frame.kind() == Kind::READINGS
                    && !self.directory.knows(&frame.node(), frame.epoch())
                    && let Some(peer) = self.peers.get_mut(&from)
                {
                    peer.exchange.hurry(now);
                }
                self.wants_area(city, area)
            }
            Topic::City(_) if frame.kind() == Kind::ANNOUNCEMENT => {
                self.learn(&frame, true) == Observed::New && self.wants_node(&frame.node())
            }
            Topic::City(city) => self.interest.iter().any(|selector| selector.matches_city(city)),
        };
        if wanted {
            self.tell(MeshEvent::Frame { frame, from: self.name(&from), live: true });
        }
    }

    fn on_plain_message(&mut self, from: PeerId, id: &MessageId, message: Message) {
        let now = Instant::now();
        let (verdict, blacklist) = self.admission.judge_plain(message.source, message.data.len(), now);
        let acceptance = match verdict {
            Ok(()) => MessageAcceptance::Accept,
            Err(Reason::Size) => MessageAcceptance::Reject,
            Err(_) => MessageAcceptance::Ignore,
        };
        self.answer(id, &from, acceptance);
        self.metrics.judged_plain(verdict);
        if blacklist {
            self.blacklist(message.source, now);
        }
        if verdict.is_ok() {
            self.tell(MeshEvent::Plain {
                topic: message.topic.into_string(),
                source: message.source.map(|source| source.to_string()),
                data: message.data,
            });
        }
    }

    fn answer(&mut self, id: &MessageId, from: &PeerId, acceptance: MessageAcceptance) {
        // False means that the message has expired meanwhile: then there is nothing left to forward.
        self.swarm.behaviour_mut().gossip.report_message_validation_result(id, from, acceptance);
    }

    /// Takes note of an announcement, and joins its area if it is wanted.
    pub(super) fn learn(&mut self, frame: &Frame, live: bool) -> Observed {
        let observed = if live { self.directory.observe_live(frame) } else { self.directory.observe(frame) };
        if observed == Observed::New {
            self.metrics.directory_nodes.set(gauge(self.directory.len()));
            if let Some(announcement) = self.directory.latest(&frame.node()) {
                let (city, area) = (announcement.place.city.clone(), announcement.place.area.clone());
                if self.wants_area(&city, &area) && !self.joined.contains(&Topic::Area(city, area)) {
                    self.join_topics();
                }
            }
        }
        observed
    }

    pub(super) fn wants_area(&self, city: &Label, area: &Label) -> bool {
        self.interest.iter().any(|selector| selector.matches_area(city, area))
    }

    pub(super) fn wants_node(&self, node: &NodeId) -> bool {
        let latest = self.directory.latest(node);
        latest.is_some_and(|announcement| self.wants_area(&announcement.place.city, &announcement.place.area))
    }

    /// Replaces the interest, and tells what is already known about what is newly wanted.
    pub(super) fn change_interest(&mut self, selectors: Vec<Selector>) {
        let before = std::mem::replace(&mut self.interest, selectors);
        let newly_wanted: Vec<Frame> = self
            .directory
            .nodes()
            .filter(|(frame, announcement)| {
                let place = &announcement.place;
                frame.node() != self.own
                    && self.wants_area(&place.city, &place.area)
                    && !before.iter().any(|selector| selector.matches_area(&place.city, &place.area))
            })
            .map(|(frame, _)| frame.clone())
            .collect();
        let own = self.name(&self.own_peer);
        for frame in newly_wanted {
            self.tell(MeshEvent::Frame { frame, from: own.clone(), live: false });
        }
        self.join_topics();
    }

    /// Joins what is wanted and leaves what is not.
    pub(super) fn join_topics(&mut self) {
        let known =
            self.directory.nodes().map(|(_, announcement)| (&announcement.place.city, &announcement.place.area));
        let room = MAX_TOPICS - self.config.plain.len();
        let wanted = topic::wanted(self.member.as_ref(), &self.interest, &self.joined, known, room);
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        for topic in self.joined.difference(&wanted.topics) {
            gossip.unsubscribe(&IdentTopic::new(topic.to_string()));
        }
        let frame_topics = wanted.topics.difference(&self.joined).map(Topic::to_string);
        let plain_topics = self.config.plain.iter().cloned();
        for topic in frame_topics.chain(plain_topics) {
            // Joining twice is nothing. Every topic of ours passes our own filter.
            if let Err(error) = gossip.subscribe(&IdentTopic::new(topic)) {
                tracing::error!(%error, "cannot join a topic");
            }
        }
        self.joined = wanted.topics;
        self.metrics.topics.set(gauge(self.joined.len() + self.config.plain.len()));
        self.metrics.topics_left_out.set(gauge(wanted.left_out));
        if wanted.left_out != std::mem::replace(&mut self.left_out, wanted.left_out) && wanted.left_out > 0 {
            tracing::warn!(
                left_out = wanted.left_out,
                "more areas are wanted than can be joined: narrow the selectors"
            );
            self.tell(MeshEvent::AreasLeftOut { topics: wanted.left_out });
        }
    }

    /// Lets those in again whose time is over.
    pub(super) fn release(&mut self, now: Instant) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        self.blacklist.retain(|peer, until| {
            let stays = *until > now;
            if !stays {
                gossip.remove_blacklisted_peer(peer);
            }
            stays
        });
        self.metrics.blacklisted.set(gauge(self.blacklist.len()));
    }

    fn blacklist(&mut self, author: Option<PeerId>, now: Instant) {
        let Some(author) = author else { return };
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        if self.blacklist.len() >= MAX_BLACKLISTED
            && let Some(first) = self.blacklist.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer)
        {
            self.blacklist.remove(&first);
            gossip.remove_blacklisted_peer(&first);
        }
        gossip.blacklist_peer(&author);
        self.blacklist.insert(author, now + self.config.limits.blacklist_for);
        self.metrics.blacklistings.inc();
        self.metrics.blacklisted.set(gauge(self.blacklist.len()));
        if let Some(times) = self.occasions.take("blacklist", now) {
            tracing::warn!(%author, times, duration = ?self.config.limits.blacklist_for, "author shut out: it sends too much");
        }
    }

    /// How many connected peers follow a topic.
    pub(super) fn followers(&self, topic: &str) -> usize {
        let peers = self.swarm.behaviour().gossip.all_peers();
        peers.filter(|(_, topics)| topics.iter().any(|followed| followed.as_str() == topic)).count()
    }

    fn send(&mut self, topic: String, data: &[u8]) -> Result<Published, Error> {
        let peers = self.followers(&topic);
        match self.swarm.behaviour_mut().gossip.publish(IdentTopic::new(topic), data) {
            Ok(_) => Ok(Published::Queued { peers }),
            Err(PublishError::NoPeersSubscribedToTopic) => Ok(Published::NoPeers),
            Err(PublishError::AllQueuesFull(_)) => Ok(Published::QueuesFull),
            Err(error) => Err(Error::Setup(error.to_string())),
        }
    }
}

/// A number of things as a metric.
pub(super) fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The PeerId of a node.
pub(super) fn peer_of(node: NodeId) -> Option<PeerId> {
    PeerId::from_bytes(&node.peer_id_bytes()).ok()
}
