//! How much the engine remembers and asks, and what follows where that is reached.

/// How much is remembered and asked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapLimits {
    /// Nodes; [`Gaps::want`](crate::Gaps::want) refuses more.
    pub nodes: usize,
    /// Runs of one node; beyond, the one heard of first is forgotten, and from then on only runs that are heard are followed.
    pub runs_per_node: usize,
    /// Ranges of one run, held and gone; beyond, its lowest holes are given up ([`Gaps::given_up`](crate::Gaps::given_up)): their frames count as repeats.
    pub ranges_per_run: usize,
    /// Ranges of all runs (16 bytes each); beyond, the most scattered run gives up half of its holes.
    pub ranges: usize,
    /// Peers of which it is remembered what they have of one node; beyond, the one with nothing to offer is forgotten, and asked anew in turn.
    pub holders_per_node: usize,
    /// What all peers say they have of all nodes, in runs (some 100 bytes each); beyond, it is forgotten and asked for again later.
    pub claims: usize,
    /// Questions at once.
    pub in_flight: usize,
    /// Of them to one peer.
    pub in_flight_per_peer: usize,
    /// Of them for frames of one node. With 1, what is fetched of a node comes in order.
    pub in_flight_per_node: usize,
}

/// What the engine takes memory for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GapSize {
    /// Nodes wanted.
    pub nodes: usize,
    /// Ranges of their runs.
    pub ranges: usize,
    /// Runs that peers claim to have, and ranges that they lack.
    pub claims: usize,
    /// Questions not answered yet.
    pub in_flight: usize,
}

impl Default for GapLimits {
    fn default() -> Self {
        Self {
            nodes: 10_000,
            runs_per_node: 1024,
            ranges_per_run: 1024,
            ranges: 128 * 1024,
            holders_per_node: 64,
            claims: 64 * 1024,
            in_flight: 32,
            in_flight_per_peer: 2,
            in_flight_per_node: 2,
        }
    }
}
