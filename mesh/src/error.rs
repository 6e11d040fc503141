//! What can go wrong on the caller's side of the mesh. What peers do wrong is counted, never an error.

use reading::NodeId;

/// Why the mesh could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A multiaddress that cannot be used.
    #[error("address \"{}\" {problem}", text.escape_default())]
    Address {
        /// As it was given.
        text: String,
        /// What is wrong with it, and what to write.
        problem: String,
    },
    /// A plain topic that cannot be used.
    #[error("plain topic \"{}\" {problem}", topic.escape_default())]
    PlainTopic {
        /// As it was given.
        topic: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No socket could be had for an address.
    #[error("cannot listen on {address}: {problem}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        problem: String,
    },
    /// libp2p refused its own settings: a fault of this crate.
    #[error("cannot set the mesh up: {0}")]
    Setup(String),
    /// More topics than a peer may follow.
    #[error("more than {0} topics; peers drop everything from one who follows more than 100")]
    TooManyTopics(usize),
    /// A frame of somebody else: every receiver would refuse it, since live gossip must come from the frame's own key.
    #[error("a frame of {frame} cannot be published by {own}")]
    ForeignFrame {
        /// Who signed the frame.
        frame: NodeId,
        /// Who would publish it.
        own: NodeId,
    },
    /// A frame before the mesh knows where its node is.
    #[error("the node's city and area are not known: set them, or publish the announcement first")]
    NoPlace,
    /// A payload that receivers would refuse.
    #[error("this frame's payload cannot be read")]
    Payload(#[source] reading::FrameError),
    /// A plain line beyond the limit.
    #[error("a plain line of {length} bytes is longer than {max}")]
    PlainTooLong {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The mesh has ended.
    #[error("the mesh has stopped")]
    Stopped,
    /// The mesh did not end in time, and was cut off.
    #[error("the mesh did not stop within {0:?}")]
    StopTimeout(std::time::Duration),
}
