//! What of the gossip is let in, let pass, or thrown away.
//!
//! Accepted messages are forwarded, so every holder must come to the same answer about what to *reject*: nothing is rejected that a newer
//! program could have sent in good faith. What is only of no use here is *ignored*: not forwarded, and not held against anybody. That goes for an unknown
//! frame version too, so that a rolling upgrade never splits the mesh; newer peers pass it among themselves.
//!
//! gossipsub has checked the message's own signature before: `source` is the one who published it. Whoever is over its rate is
//! ignored, and for a while blacklisted when it goes on: gossipsub's caches are bounded by time and filled before anything gets
//! here, so refusing an author earlier is the only thing that bounds their memory.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use reading::{Frame, FrameError, Kind, NodeId, Payload, Verifier};

use crate::allowance::{Allowance, Rate};
use crate::config::Limits;
use crate::directory::Directory;
use crate::recent::Recent;
use crate::seen::{Seen, Sight};
use crate::topic::Topic;

/// An announcement that is already known is passed on no more often than this: it is for those behind.
const REPEAT: Duration = Duration::from_secs(1);

/// Decides about gossip. Time comes in as an argument.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    authors: Recent<PeerId, Author>,
    seen: Recent<NodeId, Seen>,
}

#[derive(Debug)]
struct Author {
    allowance: Allowance,
    repeats: Allowance,
    strikes: u32,
    /// With the author's key, since an author signs its own frames only. Some 200 bytes of each remembered author.
    verifier: Verifier,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Forward it, and take it in.
    Accept(Frame),
    /// Forward it; it is known here.
    Repeat(Frame),
    Ignore(Reason),
    Reject(Reason),
}

/// Why a message is not forwarded. A closed set: it labels metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// A newer frame version.
    Version,
    /// The frame was heard before, in another message.
    Replayed,
    /// Too far behind the newest of its author to know.
    Old,
    /// Its author sends too much.
    Rate,
    /// Not the area that its author announced.
    Place,
    /// More than a frame may have.
    Size,
    /// Nobody says who published it.
    Anonymous,
    /// No frame.
    Malformed,
    /// The signature does not fit.
    Forged,
    /// Published by another than who signed the frame.
    Foreign,
    /// A kind that does not belong on this topic.
    Topic,
    /// A known kind that cannot be read.
    Payload,
}

/// A verdict, and whether its author is to be shut out for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) blacklist: bool,
}

impl Reason {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Replayed => "replayed",
            Self::Old => "old",
            Self::Rate => "rate",
            Self::Place => "place",
            Self::Size => "size",
            Self::Anonymous => "anonymous",
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Foreign => "foreign",
            Self::Topic => "topic",
            Self::Payload => "payload",
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, authors: Recent::new(limits.authors), seen: Recent::new(limits.authors) }
    }

    /// Judges a message on a frame topic.
    pub(crate) fn judge(
        &mut self,
        topic: &Topic,
        source: Option<PeerId>,
        data: &[u8],
        directory: &Directory,
        now: Instant,
    ) -> Judgement {
        let Some(source) = source else {
            return Judgement { verdict: Verdict::Reject(Reason::Anonymous), blacklist: false };
        };
        let rate = self.rate();
        let author = self.author(source, now);
        let checked = if author.allowance.take(rate, now) {
            check(topic, source, data, &mut author.verifier, directory)
        } else {
            Err(Verdict::Ignore(Reason::Rate))
        };
        let verdict = match checked {
            Err(verdict) => verdict,
            Ok(frame) => self.recognise(source, frame, directory, now),
        };
        let blacklist = match verdict {
            Verdict::Reject(_) | Verdict::Ignore(Reason::Rate) => self.strike(source, now),
            Verdict::Accept(_) => self.pardon(source, now),
            _ => false,
        };
        Judgement { verdict, blacklist }
    }

    /// Judges a message on a plain topic: its length, and its author's rate. The second value says whether to blacklist the author.
    pub(crate) fn judge_plain(
        &mut self,
        source: Option<PeerId>,
        length: usize,
        now: Instant,
    ) -> (Result<(), Reason>, bool) {
        let Some(source) = source else { return (Err(Reason::Anonymous), false) };
        let refused = if !self.within_rate(source, now) {
            Reason::Rate
        } else if length > crate::MAX_PLAIN_BYTES {
            Reason::Size
        } else {
            return (Ok(()), self.pardon(source, now));
        };
        (Err(refused), self.strike(source, now))
    }

    fn recognise(&mut self, source: PeerId, frame: Frame, directory: &Directory, now: Instant) -> Verdict {
        let sight = self.see(&frame);
        if frame.kind() == Kind::ANNOUNCEMENT {
            // It may be sent again for ever, so numbers cannot tell: a node that has run for long is far beyond that of its announcement.
            return if directory.holds(frame.bytes()) {
                if self.author(source, now).repeats.take(Rate::once_per(REPEAT), now) {
                    Verdict::Repeat(frame)
                } else {
                    Verdict::Ignore(Reason::Replayed)
                }
            } else if sight == Sight::Again && directory.latest(&frame.node()).is_some() {
                Verdict::Ignore(Reason::Replayed)
            } else {
                Verdict::Accept(frame)
            };
        }
        match sight {
            Sight::First => Verdict::Accept(frame),
            Sight::Again => Verdict::Ignore(Reason::Replayed),
            Sight::TooOld => Verdict::Ignore(Reason::Old),
        }
    }

    fn see(&mut self, frame: &Frame) -> Sight {
        self.seen.entry(frame.node(), Seen::default).see(frame.epoch(), frame.seq())
    }

    fn within_rate(&mut self, source: PeerId, now: Instant) -> bool {
        let rate = self.rate();
        self.author(source, now).allowance.take(rate, now)
    }

    fn author(&mut self, source: PeerId, now: Instant) -> &mut Author {
        let rate = self.rate();
        self.authors.entry(source, || Author {
            allowance: Allowance::full(rate, now),
            repeats: Allowance::full(Rate::once_per(REPEAT), now),
            strikes: 0,
            verifier: Verifier::default(),
        })
    }

    fn rate(&self) -> Rate {
        Rate::new(self.limits.author_rate, self.limits.author_burst)
    }

    /// One offence more. True when it is one too many; then the count begins anew.
    fn strike(&mut self, source: PeerId, now: Instant) -> bool {
        let limit = self.limits.author_strikes;
        let author = self.author(source, now);
        author.strikes += 1;
        let too_many = author.strikes >= limit;
        if too_many {
            author.strikes = 0;
        }
        too_many
    }

    /// A good message makes up for a bad one. Never a reason to blacklist: false.
    fn pardon(&mut self, source: PeerId, now: Instant) -> bool {
        let author = self.author(source, now);
        author.strikes = author.strikes.saturating_sub(1);
        false
    }
}

/// Everything about a message that needs no memory of its author.
fn check(
    topic: &Topic,
    source: PeerId,
    data: &[u8],
    verifier: &mut Verifier,
    directory: &Directory,
) -> Result<Frame, Verdict> {
    // Both signatures are needed, though one key made them: the message's is for whoever forwards it, and what is taken in here
    // is kept and served long after as a frame, which must prove itself without the message.
    let frame = verifier.verify(data).map_err(|error| match error {
        FrameError::UnknownVersion(_) => Verdict::Ignore(Reason::Version),
        FrameError::TooLarge(_) => Verdict::Reject(Reason::Size),
        FrameError::Signature => Verdict::Reject(Reason::Forged),
        _ => Verdict::Reject(Reason::Malformed),
    })?;
    if NodeId::from_peer_id_bytes(&source.to_bytes()) != Some(frame.node()) {
        return Err(Verdict::Reject(Reason::Foreign));
    }
    let payload = frame.payload().map_err(|_| Verdict::Reject(Reason::Payload))?;
    let fits = match (topic, &payload) {
        (Topic::City(city), Payload::Announcement(announcement)) => announcement.place.city == *city,
        (Topic::Area(..), Payload::Announcement(_)) => false,
        (_, Payload::Unknown(..)) | (Topic::Area(..), _) => true,
        (Topic::City(_), _) => false,
    };
    if !fits {
        return Err(Verdict::Reject(Reason::Topic));
    }
    if let (Topic::Area(city, area), Payload::Readings(readings)) = (topic, &payload)
        && let Some(announcement) = directory.described(&frame.node(), frame.epoch(), readings.announcement)
        && (&announcement.place.city, &announcement.place.area) != (city, area)
    {
        return Err(Verdict::Ignore(Reason::Place));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Node, label};

    struct Gate {
        admission: Admission,
        directory: Directory,
        now: Instant,
    }

    impl Gate {
        fn new(limits: Limits) -> Self {
            Self { admission: Admission::new(limits), directory: Directory::new(10), now: Instant::now() }
        }

        fn judge(&mut self, topic: &Topic, source: PeerId, data: &[u8]) -> Verdict {
            self.admission.judge(topic, Some(source), data, &self.directory, self.now).verdict
        }
    }

    fn city() -> Topic {
        Topic::City(label("seoul"))
    }

    fn area() -> Topic {
        Topic::Area(label("seoul"), label("jung"))
    }

    #[test]
    fn each_frame_belongs_on_its_own_topic() {
        let mut node = Node::new(1, "seoul", "jung");
        let mut gate = Gate::new(Limits::default());
        let (announcement, readings, unknown) = (node.announcement(), node.readings(1), node.unknown_kind());
        let own = node.peer_id();
        assert_eq!(gate.judge(&area(), own, announcement.bytes()), Verdict::Reject(Reason::Topic));
        assert_eq!(gate.judge(&city(), own, readings.bytes()), Verdict::Reject(Reason::Topic));
        let busan = Topic::City(label("busan"));
        assert_eq!(gate.judge(&busan, own, announcement.bytes()), Verdict::Reject(Reason::Topic));
        assert_eq!(gate.judge(&city(), own, announcement.bytes()), Verdict::Accept(announcement.clone()));
        assert_eq!(gate.judge(&area(), own, readings.bytes()), Verdict::Accept(readings));
        assert_eq!(gate.judge(&city(), own, unknown.bytes()), Verdict::Accept(unknown));
        gate.directory.observe_live(&announcement);
        let elsewhere = Topic::Area(label("seoul"), label("mapo"));
        let readings = node.readings(1);
        assert_eq!(gate.judge(&elsewhere, own, readings.bytes()), Verdict::Ignore(Reason::Place));
    }

    #[test]
    fn what_is_no_frame_of_the_sender_is_rejected_with_its_reason() {
        let mut node = Node::new(1, "seoul", "jung");
        let other = Node::new(2, "seoul", "jung");
        let mut gate = Gate::new(Limits::default());
        let frame = node.readings(1);
        let mut forged = frame.bytes().to_vec();
        forged[60] ^= 1;
        let mut newer = frame.bytes().to_vec();
        newer[0] = 9;
        let own = node.peer_id();
        for (source, bytes, verdict) in [
            (own, &b"garbage"[..], Verdict::Ignore(Reason::Version)),
            (own, &[1; 100][..], Verdict::Reject(Reason::Malformed)),
            (own, &[], Verdict::Reject(Reason::Malformed)),
            (own, &[1; 9000][..], Verdict::Reject(Reason::Size)),
            (own, &forged, Verdict::Reject(Reason::Forged)),
            (own, &newer, Verdict::Ignore(Reason::Version)),
            (other.peer_id(), frame.bytes(), Verdict::Reject(Reason::Foreign)),
            (PeerId::random(), frame.bytes(), Verdict::Reject(Reason::Foreign)),
            (own, node.broken_readings().bytes(), Verdict::Reject(Reason::Payload)),
        ] {
            assert_eq!(gate.judge(&area(), source, bytes), verdict);
        }
        let anonymous = gate.admission.judge(&area(), None, frame.bytes(), &gate.directory, gate.now);
        assert_eq!(anonymous.verdict, Verdict::Reject(Reason::Anonymous));
        assert_eq!(
            gate.judge(&area(), own, frame.bytes()),
            Verdict::Accept(frame),
            "none of these spoilt the frame itself"
        );
    }

    #[test]
    fn a_frame_is_taken_in_once_whatever_message_it_comes_in() {
        let mut node = Node::new(1, "seoul", "jung");
        let mut gate = Gate::new(Limits::default());
        let (announcement, readings) = (node.announcement(), node.readings(1));
        let own = node.peer_id();
        assert!(matches!(gate.judge(&area(), own, readings.bytes()), Verdict::Accept(_)));
        assert_eq!(gate.judge(&area(), own, readings.bytes()), Verdict::Ignore(Reason::Replayed));
        gate.directory.observe(&announcement);
        assert_eq!(gate.judge(&city(), own, announcement.bytes()), Verdict::Repeat(announcement.clone()));
        assert_eq!(gate.judge(&city(), own, announcement.bytes()), Verdict::Ignore(Reason::Replayed));
        gate.now += REPEAT;
        assert_eq!(gate.judge(&city(), own, announcement.bytes()), Verdict::Repeat(announcement.clone()));
        gate.directory.observe(&node.moved_to("mapo").announcement());
        gate.now += REPEAT;
        assert_eq!(gate.judge(&city(), own, announcement.bytes()), Verdict::Ignore(Reason::Replayed), "superseded");
    }

    #[test]
    fn an_announcement_is_good_however_many_frames_have_gone_by_since() {
        let mut node = Node::new(1, "seoul", "jung");
        let mut gate = Gate::new(Limits::default());
        let announcement = node.announcement();
        for _ in 0..600 {
            gate.now += Duration::from_secs(1);
            let frame = node.readings(1);
            assert!(matches!(gate.judge(&area(), node.peer_id(), frame.bytes()), Verdict::Accept(_)));
        }
        let old = gate.judge(&city(), node.peer_id(), announcement.bytes());
        assert_eq!(old, Verdict::Accept(announcement));
    }

    #[test]
    fn who_floods_is_ignored_then_blacklisted_and_who_only_stumbles_is_not() {
        let limits = Limits { author_rate: 10, author_burst: 20, author_strikes: 30, ..Limits::default() };
        let mut gate = Gate::new(limits);
        let mut node = Node::new(1, "seoul", "jung");
        let own = node.peer_id();
        let frames: Vec<Frame> = (0..100).map(|_| node.readings(1)).collect();
        let judgements: Vec<Judgement> = frames
            .iter()
            .map(|frame| gate.admission.judge(&area(), Some(own), frame.bytes(), &gate.directory, gate.now))
            .collect();
        let accepted = judgements.iter().filter(|judgement| matches!(judgement.verdict, Verdict::Accept(_))).count();
        assert_eq!(accepted, 20);
        assert_eq!(judgements.iter().position(|judgement| judgement.blacklist), Some(49));

        let mut steady = Node::new(2, "seoul", "jung");
        for _ in 0..1000 {
            gate.now += Duration::from_millis(95);
            let frame = steady.readings(1);
            let judgement =
                gate.admission.judge(&area(), Some(steady.peer_id()), frame.bytes(), &gate.directory, gate.now);
            assert!(!judgement.blacklist);
        }
    }

    #[test]
    fn plain_lines_have_a_length_and_a_rate() {
        let limits = Limits { author_rate: 1, author_burst: 3, author_strikes: 4, ..Limits::default() };
        let mut gate = Gate::new(limits);
        let author = PeerId::random();
        let mut judge = |length| gate.admission.judge_plain(Some(author), length, gate.now);
        assert_eq!(judge(4096), (Ok(()), false));
        assert_eq!(judge(4097), (Err(Reason::Size), false));
        assert_eq!(judge(1), (Ok(()), false));
        assert_eq!(judge(1), (Err(Reason::Rate), false));
        assert_eq!(judge(1), (Err(Reason::Rate), false));
        assert_eq!(judge(1), (Err(Reason::Rate), false));
        assert_eq!(judge(1), (Err(Reason::Rate), true));
        assert_eq!(gate.admission.judge_plain(None, 1, gate.now), (Err(Reason::Anonymous), false));
    }
}
