//! What the measured programs have in common, ours and the floor: clocks, what is published, what they are told, what
//! they count and say.
//!
//! `magpie-bench node` measures: it starts children (itself as publisher and subscriber, `floor`, `magpie`), gives them
//! orders on their stdin and reads their reports, one line of JSON each, on their stdout. Ours and the floor take the
//! same orders, count with the same code and run on the same kind of runtime, so that what differs is what they do with
//! a message.

pub mod clock;
pub mod load;
pub mod orders;
pub mod tally;
