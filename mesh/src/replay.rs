//! The past of every node that is wanted, and then what it makes: in order, each frame once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use reading::{Epoch, Frame, FrameId, Kind, NodeId, Payload, Selector};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::backfill::Backfill;
use crate::directory::{Directory, Observed};
use crate::error::Error;
use crate::gaps::{GapLimits, Gone, Sight, Since};
use crate::handle::{Events, Mesh, MeshEvent};
use crate::order::{Order, OrderLimits, Released};

/// How often it is looked whether something was waited for long enough.
const TICK: Duration = Duration::from_secs(1);
/// Neither a peer nor a node was new for so long: who was found is all that there is to find for now. Where peers come and go all the time, that
/// is so this long after the first.
const QUIET: Duration = Duration::from_secs(5);
const QUIET_MAX: Duration = Duration::from_secs(30);
/// Nodes that are dialled in one go, because nobody else can say what there is of them, or has it.
const REACH: usize = 8;
/// Peers with which nobody is dialled: what only he has stays missing, or what he has unconfirmed, and is told so.
const MOST_PEERS: usize = 128;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    /// Nodes that any of these may mean are wanted, with all their frames. The quantity is the program's to match.
    pub selectors: Vec<Selector>,
    /// From when on.
    pub since: Since,
    /// How much the engine remembers.
    pub gaps: GapLimits,
    /// How much is held back for the sake of the order.
    pub order: OrderLimits,
    /// Spreads pauses; no two programs need the same.
    pub seed: u64,
}

/// Frames of the nodes that selectors mean: from a time on, of each node in the order in which it made them, each once, and then live without a
/// hole between.
///
/// Of each node, runs come one after another and frames by seq; an announcement comes before the readings that refer to it. Between nodes there
/// is no order. What nobody who is connected has is waited for a while ([`OrderLimits::patience`]) and then passed over; should it turn up yet,
/// it comes late and says so. A holder that does not know exactly where the time begins gives rather too much than too little, so the first
/// frames may be somewhat older.
///
/// Nodes are known by their announcements, of which every peer has a directory: so silent and dead ones are found too, as long as somebody who
/// heard them has their frames.
///
/// Memory: what [`GapLimits`] and [`OrderLimits`] say, 2 MiB for answers on their way, and one directory.
#[derive(Debug)]
pub struct Replay {
    mesh: Mesh,
    events: Events,
    selectors: Vec<Selector>,
    since: Since,
    backfill: Backfill,
    order: Order<Frame>,
    directory: Directory,
    counts: BTreeMap<NodeId, Counts>,
    ready: VecDeque<Next>,
    ticks: tokio::time::Interval,
    /// Announcements may have passed unheard.
    look_up_nodes: bool,
    /// Nodes whose past is still coming.
    coming: BTreeSet<NodeId>,
    first_peer_at: Option<Instant>,
    /// When a peer or a node was last new.
    news_at: Instant,
    said_settled: bool,
    left_out: u64,
}

/// What comes of a replay.
#[derive(Clone, Debug)]
pub enum Next {
    /// A frame of a wanted node.
    Frame {
        /// The frame.
        frame: Frame,
        /// A later one of its node came before it.
        late: bool,
    },
    /// The past of every node that was found is here, as far as any peer has it: what comes now is new, or turned up late. Not before a peer was
    /// there, and 5 s after the last new peer or node, or 30 s after the first peer. Said again when nodes that were found later are here, too.
    Settled,
    /// Anything else that happened on the mesh. Announcements are frames of their nodes and do not come here.
    Event(MeshEvent),
}

/// What is known of one node's frames since the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Frames that came.
    pub frames: u64,
    /// Of them, those that came after later ones.
    pub late: u64,
    /// The last that came in its turn.
    pub last: Option<(Epoch, u64)>,
    /// What exists and did not come.
    pub missing: Vec<(Epoch, RangeInclusive<u64>)>,
    /// What the node itself no longer has, and nobody else had.
    pub gone: Vec<Gone>,
    /// Frames that are not looked for any more because there were too many holes.
    pub given_up: u64,
    /// Whether the node itself has said what there is. Otherwise more may be missing than is known.
    pub confirmed: bool,
}

#[derive(Debug, Default)]
struct Counts {
    frames: u64,
    late: u64,
    /// Frames whose turn has come and that were not given out yet.
    ready: usize,
    last: Option<(Epoch, u64)>,
    /// The announcement that was last referred to.
    explained: Option<(Epoch, u64)>,
}

impl Default for ReplayConfig {
    /// Everything of every node.
    fn default() -> Self {
        Self {
            selectors: vec![Selector::ALL],
            since: Since::Beginning,
            gaps: GapLimits::default(),
            order: OrderLimits::default(),
            seed: 1,
        }
    }
}

impl Replay {
    /// Takes a mesh over whose interest are the same selectors.
    pub fn new(mesh: Mesh, events: Events, config: ReplayConfig) -> Self {
        let ReplayConfig { selectors, since, gaps, order, seed } = config;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            backfill: Backfill::new(mesh.clone(), gaps, seed),
            mesh,
            events,
            selectors,
            since,
            order: Order::new(order),
            directory: Directory::default(),
            counts: BTreeMap::new(),
            ready: VecDeque::new(),
            ticks,
            look_up_nodes: true,
            coming: BTreeSet::new(),
            first_peer_at: None,
            news_at: Instant::now(),
            said_settled: false,
            left_out: 0,
        }
    }

    /// The program has these frames of a node already: they do not come.
    pub fn hold(&mut self, node: NodeId, epoch: Epoch, seqs: RangeInclusive<u64>) {
        self.want(node);
        self.backfill.hold(node, epoch, seqs);
    }

    /// What comes next. Nothing is lost when the wait is given up. An error means that the mesh has ended.
    pub async fn next(&mut self) -> Result<Next, Error> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                self.given(&next);
                return Ok(next);
            }
            if self.becomes_settled() {
                return Ok(Next::Settled);
            }
            if self.look_up_nodes {
                let announcements = self.mesh.nodes().await?;
                // Some may have connected before anybody listened to the events.
                if !self.mesh.peers().await?.is_empty() {
                    self.first_peer_at.get_or_insert_with(Instant::now);
                }
                self.look_up_nodes = false;
                announcements.into_iter().for_each(|frame| self.take_frame(frame, false));
                continue;
            }
            tokio::select! {
                about = self.backfill.turn() => self.take_fetched(about?),
                event = self.events.next() => self.take_event(event.ok_or(Error::Stopped)?),
                _ = self.ticks.tick() => self.tick().await?,
            }
        }
    }

    /// Whether the past of a node is here, as far as any peer has it, and was given out.
    pub fn is_settled(&self, node: &NodeId) -> bool {
        let ready = self.counts.get(node).is_some_and(|counts| counts.ready > 0);
        !ready && !self.coming.contains(node)
    }

    /// The nodes that are wanted, with what is known of their frames.
    pub fn accounts(&self) -> impl Iterator<Item = (NodeId, Account)> + '_ {
        self.backfill.gaps().nodes().map(|node| (*node, self.account(node)))
    }

    /// Frames that came more than once, and were not delivered again. Announcements that are sent now and then do not count.
    pub fn repeats(&self) -> u64 {
        self.backfill.repeats()
    }

    /// Nodes that were found beyond [`GapLimits::nodes`], and left out.
    pub fn nodes_left_out(&self) -> u64 {
        self.left_out
    }

    /// Bytes of frames that are held back for the sake of the order.
    pub fn held_bytes(&self) -> usize {
        self.order.held_bytes()
    }

    /// The announcements of every node that was heard of.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What is missing of whom, and what that takes memory for.
    pub fn gaps(&self) -> &crate::gaps::Gaps {
        self.backfill.gaps()
    }

    /// Ends it, and gives the mesh back.
    pub fn into_mesh(self) -> Mesh {
        self.mesh
    }

    fn account(&self, node: &NodeId) -> Account {
        let gaps = self.backfill.gaps();
        let counts = self.counts.get(node);
        Account {
            frames: counts.map_or(0, |counts| counts.frames),
            late: counts.map_or(0, |counts| counts.late),
            last: counts.and_then(|counts| counts.last),
            missing: gaps.missing(node),
            gone: gaps.gone(node),
            given_up: gaps.given_up(node),
            confirmed: gaps.is_confirmed(node),
        }
    }

    /// True once each time.
    fn becomes_settled(&mut self) -> bool {
        let quiet = self.news_at.elapsed() >= QUIET;
        let found = self.first_peer_at.is_some_and(|first| quiet || first.elapsed() >= QUIET_MAX);
        let settled = found && self.coming.is_empty();
        settled && !std::mem::replace(&mut self.said_settled, settled)
    }

    fn want(&mut self, node: NodeId) {
        if self.counts.contains_key(&node) {
            return;
        }
        if !self.backfill.want(node, self.since) {
            self.left_out += 1;
            return;
        }
        self.counts.insert(node, Counts::default());
        self.order.want(node, self.backfill.now());
        self.coming.insert(node);
        self.news_at = Instant::now();
        self.said_settled = false;
    }

    fn take_event(&mut self, event: MeshEvent) {
        match event {
            MeshEvent::Frame { frame, live, .. } => return self.take_frame(frame, live),
            MeshEvent::PeerConnected { .. } => {
                self.first_peer_at.get_or_insert_with(Instant::now);
                self.news_at = Instant::now();
            }
            MeshEvent::Lagged { .. } => self.look_up_nodes = true,
            _ => {}
        }
        self.backfill.hear(&event);
        self.ready.push_back(Next::Event(event));
    }

    /// A frame that was heard, or an announcement that was found.
    fn take_frame(&mut self, frame: Frame, live: bool) {
        let announces = frame.kind() == Kind::ANNOUNCEMENT;
        if announces {
            let observed = if live { self.directory.observe_live(&frame) } else { self.directory.observe(&frame) };
            if observed == Observed::Nothing {
                return;
            }
            let latest = self.directory.latest(&frame.node());
            if latest.is_some_and(|latest| self.selectors.iter().any(|selector| selector.matches_place(&latest.place)))
            {
                self.want(frame.node());
            }
        }
        let (id, node) = (frame.id(), frame.node());
        if !self.counts.contains_key(&node) {
            return;
        }
        if !self.order.takes(self.backfill.gaps(), id) {
            let gaps = self.backfill.gaps_mut();
            if announces { gaps.need(id) } else { gaps.note(id) }
        } else if self.backfill.see(&frame) == Sight::First {
            self.put(frame);
        }
        self.release(node);
    }

    fn take_fetched(&mut self, about: Option<NodeId>) {
        for frame in self.backfill.take_fetched().collect::<Vec<_>>() {
            self.put(frame);
        }
        if let Some(node) = about {
            self.release(node);
        }
    }

    /// A frame is given out.
    fn given(&mut self, next: &Next) {
        if let Next::Frame { frame, late } = next
            && let Some(counts) = self.counts.get_mut(&frame.node())
        {
            counts.ready -= 1;
            counts.frames += 1;
            counts.late += u64::from(*late);
            if !late {
                counts.last = Some((frame.epoch(), frame.seq()));
            }
        }
    }

    fn put(&mut self, frame: Frame) {
        if let Ok(Payload::Readings(readings)) = frame.payload()
            && let Some(counts) = self.counts.get_mut(&frame.node())
            && counts.explained != Some((frame.epoch(), readings.announcement))
        {
            counts.explained = Some((frame.epoch(), readings.announcement));
            self.backfill.gaps_mut().need(FrameId { seq: readings.announcement, ..frame.id() });
        }
        let bytes = frame.bytes().len();
        self.order.put(frame.id(), frame, bytes);
    }

    fn release(&mut self, node: NodeId) {
        let mut released = VecDeque::new();
        let now = self.backfill.now();
        self.order.release(self.backfill.gaps_mut(), node, now, &mut released);
        if self.order.is_settled(&node) {
            self.coming.remove(&node);
        }
        self.deliver(released);
    }

    async fn tick(&mut self) -> Result<(), Error> {
        let mut released = VecDeque::new();
        let now = self.backfill.now();
        self.order.tick(self.backfill.gaps_mut(), now, &mut released);
        self.coming.retain(|node| !self.order.is_settled(node));
        self.deliver(released);
        let gaps = self.backfill.gaps();
        let unheard = self.order.restless().filter(|node| !gaps.is_confirmed(node));
        let unheard: Vec<NodeId> = unheard.copied().collect();
        let orphaned: Vec<NodeId> = gaps.orphaned().copied().collect();
        for nodes in [unheard, orphaned] {
            if !nodes.is_empty() {
                self.mesh.reach(nodes, REACH, MOST_PEERS).await?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, released: VecDeque<Released<Frame>>) {
        for Released { item: frame, late } in released {
            if let Some(counts) = self.counts.get_mut(&frame.node()) {
                counts.ready += 1;
            }
            self.ready.push_back(Next::Frame { frame, late });
        }
    }
}
