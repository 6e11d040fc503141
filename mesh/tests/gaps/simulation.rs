//! One subscriber's engine in a simulated city, under a virtual clock. Everything follows from the seed.

use std::cmp::Reverse;
mod answers;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mesh::{Ask, Gaps, Order, Question, Ranges, Released, Sight, Since};
use reading::{Epoch, FrameId, NodeId, Previous};

use crate::holder::{Holder, LIARS, Manner};
use crate::weather::{Random, Weather};

/// How long an answer that does not come is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Frames of one answer.
const PAGE: u64 = 300;
/// Bytes of one frame.
const FRAME: usize = 100;
/// How often it is looked whether something was waited for long enough.
const TICK: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Measures(usize),
    Restarts(usize),
    Toggles(usize),
    Answers(u64),
}

pub(crate) struct City {
    weather: Weather,
    random: Random,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    scheduled: u64,
    nodes: Vec<Author>,
    /// Authors first, in the order of `nodes`, then caches, then liars.
    peers: Vec<(Arc<str>, Holder, bool)>,
    by_name: BTreeMap<Arc<str>, usize>,
    pub(crate) engine: Gaps,
    pub(crate) order: Option<Order<FrameId>>,
    ticked: Duration,
    /// The last frame of each run that came in its turn.
    last: BTreeMap<(NodeId, Epoch), u64>,
    pub(crate) late: u64,
    asked: BTreeMap<u64, (Ask, usize)>,
    pub(crate) delivered: BTreeSet<FrameId>,
    pub(crate) repeats: u64,
    pub(crate) asks: u64,
    /// What each peer said that it lacks.
    lacks: BTreeMap<(usize, NodeId, Epoch), (Ranges, u64, u64)>,
    made: BTreeMap<FrameId, Duration>,
    healed: bool,
}

struct Author {
    id: NodeId,
    epoch: Epoch,
    seq: u64,
    runs: Vec<Epoch>,
    previous: Option<Previous>,
}

impl City {
    pub(crate) fn new(weather: Weather, seed: u64) -> Self {
        let mut random = Random(seed);
        let engine = Gaps::new(weather.limits, random.next());
        let mut city = Self {
            weather,
            random,
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            scheduled: 0,
            nodes: Vec::new(),
            peers: Vec::new(),
            by_name: BTreeMap::new(),
            engine,
            order: weather.order.map(Order::new),
            ticked: Duration::ZERO,
            last: BTreeMap::new(),
            late: 0,
            asked: BTreeMap::new(),
            delivered: BTreeSet::new(),
            repeats: 0,
            asks: 0,
            lacks: BTreeMap::new(),
            made: BTreeMap::new(),
            healed: false,
        };
        city.populate();
        city
    }

    fn populate(&mut self) {
        let since =
            self.weather.since.map_or(Since::Beginning, |since| Since::Time { time_us: since.as_micros() as i64 });
        for number in 0..self.weather.nodes {
            let mut key = [7; 32];
            key[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let (id, epoch) = (NodeId(key), Epoch(self.random.next().to_be_bytes()));
            self.nodes.push(Author { id, epoch, seq: 0, runs: vec![epoch], previous: None });
            self.add_peer(id.to_string().into(), Manner::Honest);
            assert!(self.engine.want(id, since));
            self.order.iter_mut().for_each(|order| order.want(id, Duration::ZERO));
            let first = self.random.around(self.weather.interval);
            self.at(first, Event::Measures(number));
            let restart = self.random.around(self.weather.restart);
            self.at(restart, Event::Restarts(number));
        }
        for number in 0..self.weather.caches {
            self.add_peer(format!("cache-{number}").into(), Manner::Honest);
        }
        for number in 0..self.weather.liars {
            self.add_peer(format!("liar-{number}").into(), LIARS[number % LIARS.len()]);
        }
    }

    fn add_peer(&mut self, name: Arc<str>, manner: Manner) {
        let number = self.peers.len();
        self.by_name.insert(name.clone(), number);
        self.peers.push((name, Holder { manner, shelves: BTreeMap::new() }, false));
        if number < self.weather.near || number >= self.weather.nodes {
            let first = self.random.around(self.weather.churn / 2);
            self.at(first, Event::Toggles(number));
        }
    }

    fn at(&mut self, time: Duration, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((time, self.scheduled, event)));
    }

    /// The bad time, then a good one until nothing is missing any more.
    pub(crate) fn run(&mut self) {
        self.run_until(self.weather.lasts);
        self.healed = true;
        for peer in 0..self.peers.len() {
            if !self.peers[peer].2 {
                self.toggle(peer);
            }
        }
        self.ask();
        self.run_until(self.weather.lasts + self.weather.heals_in);
    }

    fn run_until(&mut self, end: Duration) {
        while let Some(time) = self.next_time().filter(|time| *time <= end) {
            self.now = time;
            if time >= self.ticked + TICK {
                self.tick();
            }
            if self.events.peek().is_some_and(|next| next.0.0 <= time) {
                let event = self.events.pop().map(|next| next.0.2);
                event.into_iter().for_each(|event| self.happens(event));
            }
            self.ask();
        }
        self.now = end;
        self.tick();
    }

    /// When something happens next, or the engine wants to ask though nothing does.
    fn next_time(&self) -> Option<Duration> {
        let event = self.events.peek().map(|next| next.0.0);
        let wakes = self.engine.ask_at().map(|at| at.max(self.now));
        let ticks = self.order.as_ref().filter(|order| !order.all_settled()).map(|_| self.now.max(self.ticked + TICK));
        event.into_iter().chain(wakes).chain(ticks).min()
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Measures(node) => self.measure(node),
            Event::Restarts(node) => self.restart(node),
            Event::Toggles(_) if self.healed => {}
            Event::Toggles(peer) => {
                self.toggle(peer);
                let next = self.now + self.random.around(self.weather.churn);
                self.at(next, Event::Toggles(peer));
            }
            Event::Answers(ticket) => self.answer(ticket),
        }
    }

    fn measure(&mut self, node: usize) {
        if !self.healed {
            self.record(node);
            let next = self.now + self.random.around(self.weather.interval);
            self.at(next, Event::Measures(node));
        }
    }

    fn record(&mut self, node: usize) {
        let author = &mut self.nodes[node];
        author.seq += 1;
        let id = FrameId { node: author.id, epoch: author.epoch, seq: author.seq };
        let previous = author.previous.filter(|_| author.seq == 1);
        self.made.insert(id, self.now);
        self.peers[node].1.shelves.entry(id.node).or_default().keep(id.epoch, id.seq);
        for cache in self.nodes.len()..self.nodes.len() + self.weather.caches {
            if self.random.percent(self.weather.cached_percent) {
                self.peers[cache].1.shelves.entry(id.node).or_default().keep(id.epoch, id.seq);
            }
        }
        // Gossip comes through whoever is connected, the author or another.
        let connected = self.peers[node].2 || self.random.percent(20);
        if connected && !self.random.percent(self.weather.loss_percent) {
            for _ in 0..1 + usize::from(self.random.percent(3)) {
                if self.order.as_ref().is_none_or(|order| order.takes(&self.engine, id)) {
                    self.see(id, previous);
                } else if id.seq == 1 {
                    self.engine.need(id);
                } else {
                    self.engine.note(id);
                }
                self.release(id.node);
            }
        }
    }

    fn restart(&mut self, node: usize) {
        if self.healed {
            return;
        }
        let cut = self.random.percent(self.weather.power_cut_percent).then(|| self.random.below(8));
        let dropped = self.random.percent(self.weather.retention_percent).then(|| 1 + self.random.below(40));
        let epoch = Epoch(self.random.next().to_be_bytes());
        let author = &mut self.nodes[node];
        let shelf = self.peers[node].1.shelves.entry(author.id).or_default();
        cut.into_iter().for_each(|count| shelf.lose_last(count));
        dropped.into_iter().for_each(|count| shelf.drop_oldest(count));
        let last = shelf.held(author.epoch).and_then(|held| held.iter().next_back().map(|part| *part.end()));
        author.previous = last.map(|last_seq| Previous { epoch: author.epoch, last_seq });
        (author.epoch, author.seq) = (epoch, 0);
        author.runs.push(epoch);
        // The announcement comes before anybody can ask.
        self.record(node);
        if self.peers[node].2 {
            self.toggle(node);
            self.toggle(node);
        }
        let next = self.now + self.random.around(self.weather.restart);
        self.at(next, Event::Restarts(node));
    }

    fn toggle(&mut self, peer: usize) {
        let (name, _, connected) = &mut self.peers[peer];
        *connected = !*connected;
        if *connected {
            self.engine.connected(name);
        } else {
            self.engine.disconnected(name);
            self.asked.retain(|_, (_, asked)| *asked != peer);
            self.lacks.retain(|(lacking, ..), _| *lacking != peer);
        }
    }

    fn see(&mut self, id: FrameId, previous: Option<Previous>) {
        // The first of a run is its announcement, and may come out of a directory.
        let sight = if id.seq == 1 { self.engine.see_aside(id) } else { self.engine.see(id) };
        match (sight, &mut self.order) {
            (Sight::First, None) => self.deliver(id),
            (Sight::First, Some(order)) => order.put(id, id, FRAME),
            (Sight::Repeat, _) => self.repeats += 1,
            (Sight::Unwanted, _) => panic!("{id} is wanted"),
        }
        if let Some(previous) = previous {
            self.engine.announced(id.node, id.epoch, previous);
        }
    }

    fn deliver(&mut self, id: FrameId) {
        assert!(self.delivered.insert(id), "delivered twice: {id}");
    }

    fn release(&mut self, node: NodeId) {
        let mut released = VecDeque::new();
        if let Some(order) = &mut self.order {
            order.release(&mut self.engine, node, self.now, &mut released);
        }
        self.take(released);
    }

    fn tick(&mut self) {
        self.ticked = self.now;
        let mut released = VecDeque::new();
        if let Some(order) = &mut self.order {
            order.tick(&mut self.engine, self.now, &mut released);
            let limits = self.weather.order.unwrap();
            let under_way = self.weather.limits.in_flight * PAGE as usize * FRAME;
            assert!(order.held_bytes() <= limits.bytes + under_way, "{} bytes are held", order.held_bytes());
        }
        self.take(released);
    }

    fn take(&mut self, released: VecDeque<Released<FrameId>>) {
        for Released { item: id, late } in released {
            self.deliver(id);
            self.late += u64::from(late);
            if !late {
                let before = self.last.insert((id.node, id.epoch), id.seq);
                assert!(
                    before.is_none_or(|before| before < id.seq),
                    "{id} came after {before:?} and was not called late"
                );
            }
        }
    }

    fn ask(&mut self) {
        while let Some(ask) = self.engine.ask(self.now) {
            let peer = self.by_name[&ask.peer];
            assert!(self.peers[peer].2, "asked a peer that is away");
            self.check_not_told(peer, &ask);
            let in_flight = self.asked.values().filter(|(_, asked)| *asked == peer).count();
            assert!(in_flight < self.weather.limits.in_flight_per_peer);
            assert!(self.asked.len() < self.weather.limits.in_flight);
            self.asks += 1;
            let lost = self.random.percent(self.weather.unanswered_percent) && !self.healed;
            let mute = lost
                || self.peers[peer].1.manner == Manner::Silent && !matches!(ask.question, Question::Summary { .. });
            let delay = if mute { TIMEOUT } else { Duration::from_millis(5 + self.random.below(400)) };
            // A lost question is marked by a holder that is not there.
            let ticket = ask.ticket;
            self.asked.insert(ticket, (ask, peer));
            if mute {
                self.asked.entry(ticket).and_modify(|asked| asked.0.peer = "".into());
            }
            self.at(self.now + delay, Event::Answers(ticket));
        }
        let size = self.engine.size();
        assert!(size.ranges <= self.weather.limits.ranges && size.claims <= self.weather.limits.claims, "{size:?}");
    }
}
