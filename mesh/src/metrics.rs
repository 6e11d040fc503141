//! What the mesh counts. Labels come from closed sets only: a peer cannot make a time series.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::admission::{Reason, Verdict};
use crate::handle::Published;

#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    gossip: Family<VerdictLabels, Counter>,
    plain: Family<VerdictLabels, Counter>,
    published: Family<PublishedLabels, Counter>,
    dials: Family<OutcomeLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    histories: Family<RequestLabels, Counter>,
    /// Frames of the past that were sent to peers.
    pub(crate) frames_served: Counter,
    /// Announcements that came out of directories and were new.
    pub(crate) learned: Counter,
    /// Peers reported as too slow, and the messages dropped for them.
    pub(crate) slow_peers: Counter,
    pub(crate) dropped_for_slow_peers: Counter,
    pub(crate) refused_connections: Counter,
    pub(crate) blacklistings: Counter,
    pub(crate) blacklisted: Gauge,
    pub(crate) peers: Gauge,
    pub(crate) topics: Gauge,
    pub(crate) topics_left_out: Gauge,
    pub(crate) directory_nodes: Gauge,
    pub(crate) events_dropped: Counter,
    pub(crate) seqno_base: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublishedLabels {
    what: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    side: &'static str,
    outcome: &'static str,
}

/// What travels by gossip.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Frame,
    Plain,
}

/// What became of a request for a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Exchanged {
    /// We asked and were answered.
    Asked,
    /// We asked in vain.
    AskedInVain,
    /// We answered.
    Answered,
    /// We were asked too much.
    Refused,
}

/// What became of a question about history.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    /// We asked and were answered.
    Asked,
    /// We asked and were told to come back.
    AskedBusy,
    /// We asked in vain.
    AskedInVain,
    /// We answered.
    Answered,
    /// We told a peer to come back.
    Refused,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("magpie_mesh");
        let mut counter = |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("announcements_learned", "New announcements out of other peers' directories", &metrics.learned);
        counter("slow_peers", "Reports of a peer that reads too slowly", &metrics.slow_peers);
        counter(
            "slow_peer_messages_dropped",
            "Messages dropped for peers that read too slowly",
            &metrics.dropped_for_slow_peers,
        );
        counter("connections_refused", "Connections refused by the limits", &metrics.refused_connections);
        counter("blacklistings", "Authors shut out for a while", &metrics.blacklistings);
        counter("history_frames_served", "Frames of the past that were sent to peers", &metrics.frames_served);
        counter("events_dropped", "Events dropped because the program took them too slowly", &metrics.events_dropped);
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("blacklisted", "Authors shut out now", &metrics.blacklisted);
        gauge("peers", "Connected peers", &metrics.peers);
        gauge("topics", "Topics joined", &metrics.topics);
        gauge("topics_left_out", "Topics wanted, but too many to join", &metrics.topics_left_out);
        gauge("directory_nodes", "Nodes whose announcement is known", &metrics.directory_nodes);
        gauge(
            "seqno_base",
            "What gossip numbers count up from: the wall clock in ns when the mesh started",
            &metrics.seqno_base,
        );
        registry.register("frames", "Messages on frame topics, by what became of them", metrics.gossip.clone());
        registry.register("plain_messages", "Messages on plain topics, by what became of them", metrics.plain.clone());
        registry.register("published", "Own messages", metrics.published.clone());
        registry.register("dials", "Dials, by what became of them", metrics.dials.clone());
        registry.register("directory_requests", "Requests for a directory", metrics.requests.clone());
        registry.register("history_requests", "Questions about history", metrics.histories.clone());
        metrics
    }

    pub(crate) fn judged(&self, verdict: &Verdict) {
        let (verdict, reason) = match verdict {
            Verdict::Accept(_) => ("accepted", "new"),
            Verdict::Repeat(_) => ("accepted", "repeated"),
            Verdict::Ignore(reason) => ("ignored", reason.name()),
            Verdict::Reject(reason) => ("rejected", reason.name()),
        };
        self.gossip.get_or_create(&VerdictLabels { verdict, reason }).inc();
    }

    pub(crate) fn judged_plain(&self, verdict: Result<(), Reason>) {
        let labels = match verdict {
            Ok(()) => VerdictLabels { verdict: "accepted", reason: "new" },
            Err(reason) => VerdictLabels { verdict: "ignored", reason: reason.name() },
        };
        self.plain.get_or_create(&labels).inc();
    }

    pub(crate) fn published(&self, what: What, published: Published) {
        let what = match what {
            What::Frame => "frame",
            What::Plain => "plain",
        };
        let outcome = match published {
            Published::Queued { .. } => "queued",
            Published::NoPeers => "no_peers",
            Published::QueuesFull => "queues_full",
        };
        self.published.get_or_create(&PublishedLabels { what, outcome }).inc();
    }

    pub(crate) fn dialled(&self, outcome: crate::dial::Outcome) {
        use crate::dial::Outcome;
        let outcome = match outcome {
            Outcome::Connected(_) => "connected",
            Outcome::Refused(_) => "already_connected",
            Outcome::Ourselves => "ourselves",
            Outcome::Failed => "failed",
        };
        self.dials.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(crate) fn exchanged(&self, exchanged: Exchanged) {
        let (side, outcome) = match exchanged {
            Exchanged::Asked => ("asked", "answered"),
            Exchanged::AskedInVain => ("asked", "failed"),
            Exchanged::Answered => ("served", "answered"),
            Exchanged::Refused => ("served", "refused"),
        };
        self.requests.get_or_create(&RequestLabels { side, outcome }).inc();
    }

    pub(crate) fn told(&self, told: Told) {
        let (side, outcome) = match told {
            Told::Asked => ("asked", "answered"),
            Told::AskedBusy => ("asked", "busy"),
            Told::AskedInVain => ("asked", "failed"),
            Told::Answered => ("served", "answered"),
            Told::Refused => ("served", "busy"),
        };
        self.histories.get_or_create(&RequestLabels { side, outcome }).inc();
    }
}
