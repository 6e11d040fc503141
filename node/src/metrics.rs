//! The node's own metrics; those of the mesh and of libp2p come from `mesh`.

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use reading::{ClockState, Flag, Quantity, Reading};
use store::StoreStats;

use crate::neighbours::Dropped;

/// Counters and gauges of one node.
#[derive(Debug, Default)]
pub struct Metrics {
    readings: Family<ReadingLabels, Counter>,
    /// Frames that were numbered and signed.
    pub frames_signed: Counter,
    /// Frames that the store did not take.
    pub store_failures: Counter,
    neighbours_kept: Counter,
    neighbours_dropped: Family<DroppedLabels, Counter>,
    neighbours_bytes: Gauge,
    /// Frames that the mesh did not take.
    pub publish_failures: Counter,
    store_frames: Gauge,
    store_bytes_on_disk: Gauge,
    store_bytes_written: Gauge,
    store_bytes_written_per_day: Gauge,
    store_unsynced_frames: Gauge,
    clock_state: Gauge,
    /// Times at which the node told what time it is.
    pub clock_fixes: Counter,
    /// Seconds by which the wall clock is behind the last start.
    pub clock_behind: Gauge,
}

/// Both from closed sets: a few dozen series at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ReadingLabels {
    quantity: Quantity,
    flag: Flag,
}

/// Three of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DroppedLabels {
    reason: Dropped,
}

impl EncodeLabelSet for DroppedLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeLabel;
        let reason = match self.reason {
            Dropped::Behind => "behind",
            Dropped::Share => "share",
            Dropped::Store => "store",
        };
        ("reason", reason).encode(encoder.encode_label())
    }
}

impl EncodeLabelSet for ReadingLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeLabel;
        ("quantity", self.quantity.to_string()).encode(encoder.encode_label())?;
        ("flag", self.flag.to_string()).encode(encoder.encode_label())
    }
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let node = registry.sub_registry_with_prefix("magpie_node");
        node.register("readings", "Readings taken, by quantity and flag", metrics.readings.clone());
        node.register("frames_signed", "Frames numbered and signed", metrics.frames_signed.clone());
        node.register("store_failures", "Frames that the store did not take", metrics.store_failures.clone());
        node.register("publish_failures", "Frames that the mesh did not take", metrics.publish_failures.clone());
        node.register("store_frames", "Frames in the store", metrics.store_frames.clone());
        node.register("store_bytes_on_disk", "Bytes of the store's files", metrics.store_bytes_on_disk.clone());
        node.register(
            "store_bytes_written",
            "Bytes written to the disk for the store since the start, by the kernel's account: what wears the card",
            metrics.store_bytes_written.clone(),
        );
        node.register(
            "store_bytes_written_per_day",
            "Bytes written to the disk for the store in a day, at the rate of the last day or since the start; 0 in the first minutes",
            metrics.store_bytes_written_per_day.clone(),
        );
        node.register(
            "store_unsynced_frames",
            "Frames that a power cut would take now",
            metrics.store_unsynced_frames.clone(),
        );
        node.register("neighbours_kept", "Frames of other nodes that were kept", metrics.neighbours_kept.clone());
        node.register(
            "neighbours_dropped",
            "Frames of other nodes that were heard and not kept: too many waited, their author had its share, the store failed",
            metrics.neighbours_dropped.clone(),
        );
        node.register(
            "neighbours_bytes",
            "Bytes of memory that other nodes' frames take, in the runtime directory",
            metrics.neighbours_bytes.clone(),
        );
        node.register("clock_state", "1 synced, 2 free-running, 3 unknown", metrics.clock_state.clone());
        node.register(
            "clock_fixes",
            "Times that the clock became known or was set anew, and the node told it",
            metrics.clock_fixes.clone(),
        );
        node.register(
            "clock_behind_seconds",
            "How far the wall clock is behind the last start; foreign subscribers may ignore the node until it is 0",
            metrics.clock_behind.clone(),
        );
        metrics
    }

    pub(crate) fn count_readings(&self, readings: &[Reading]) {
        for reading in readings {
            self.readings.get_or_create(&ReadingLabels { quantity: reading.quantity, flag: reading.flag }).inc();
        }
    }

    pub(crate) fn set_wear(&self, bytes_per_day: Option<u64>) {
        set(&self.store_bytes_written_per_day, bytes_per_day.unwrap_or_default());
    }

    pub(crate) fn set_store(&self, stats: &StoreStats) {
        set(&self.store_frames, stats.frames);
        set(&self.store_bytes_on_disk, stats.bytes_on_disk);
        set(&self.store_bytes_written, stats.bytes_written.unwrap_or_default());
        set(&self.store_unsynced_frames, stats.unsynced);
    }

    pub(crate) fn count_neighbours_kept(&self, frames: usize, stats: &StoreStats) {
        self.neighbours_kept.inc_by(frames as u64);
        set(&self.neighbours_bytes, stats.bytes_on_disk);
    }

    pub(crate) fn count_neighbours_dropped(&self, reason: Dropped, frames: usize) {
        self.neighbours_dropped.get_or_create(&DroppedLabels { reason }).inc_by(frames as u64);
    }

    pub(crate) fn set_clock(&self, state: ClockState) {
        self.clock_state.set(i64::from(state.0));
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
