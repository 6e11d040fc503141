//! The bytes of `/magpie/history/1`, and their limits.

use std::io;

use libp2p::StreamProtocol;
use reading::{Epoch, NodeId};
use serde::{Deserialize, Serialize};

use super::{ANSWER_BYTES, MAX_RUNS, Summary};
use crate::codec::{Message, decode_frames, encode_with_frames, invalid};

pub(crate) const NAME: StreamProtocol = StreamProtocol::new("/magpie/history/1");
/// Bytes of a request: the longest has 70.
const MAX_REQUEST_BYTES: u64 = 128;
/// Bytes of a response: frames, their lengths, and the header; a full summary has less.
const MAX_RESPONSE_BYTES: u64 = ANSWER_BYTES as u64 + 8 * 1024;

/// What is asked. Numbers of variants are the wire's: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// What have you of this node, and what is its first frame at or after this time?
    Summary { node: NodeId, since_us: Option<i64> },
    /// Send these frames, or as many as fit.
    Frames { node: NodeId, epoch: Epoch, from: u64, to: u64, max_bytes: u32 },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    Summary(Summary),
    Frames { next_seq: u64, frames: Vec<Vec<u8>> },
    Busy { retry_after_ms: u32 },
}

/// How a response begins. Numbers of variants are the wire's: append only.
#[derive(Serialize, Deserialize)]
enum Header {
    Summary(Summary),
    Frames { next_seq: u64 },
    Busy { retry_after_ms: u32 },
}

impl Message for Request {
    const MAX_BYTES: u64 = MAX_REQUEST_BYTES;

    fn encode(&self) -> io::Result<Vec<u8>> {
        postcard::to_stdvec(self).map_err(invalid)
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let (request, rest) = postcard::take_from_bytes(bytes).map_err(invalid)?;
        match request {
            _ if !rest.is_empty() => Err(invalid("trailing bytes")),
            Self::Frames { from, to, .. } if from == 0 || from > to => Err(invalid("no range of frames")),
            request => Ok(request),
        }
    }
}

impl Message for Response {
    const MAX_BYTES: u64 = MAX_RESPONSE_BYTES;

    fn encode(&self) -> io::Result<Vec<u8>> {
        let header = match self {
            Self::Summary(summary) => Header::Summary(summary.clone()),
            Self::Frames { next_seq, .. } => Header::Frames { next_seq: *next_seq },
            Self::Busy { retry_after_ms } => Header::Busy { retry_after_ms: *retry_after_ms },
        };
        let frames = if let Self::Frames { frames, .. } = self { frames.as_slice() } else { &[] };
        encode_with_frames(&header, frames)
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let (header, rest) = postcard::take_from_bytes(bytes).map_err(invalid)?;
        match header {
            Header::Frames { next_seq } => Ok(Self::Frames { next_seq, frames: decode_frames(rest)? }),
            _ if !rest.is_empty() => Err(invalid("trailing bytes")),
            Header::Summary(summary) if summary.runs.len() > MAX_RUNS => Err(invalid("too many runs")),
            Header::Summary(summary) => Ok(Self::Summary(summary)),
            Header::Busy { retry_after_ms } => Ok(Self::Busy { retry_after_ms }),
        }
    }
}

#[cfg(test)]
mod tests {
    use reading::{EpochRange, MAX_FRAME_BYTES};

    use super::*;
    use crate::codec::MAX_FRAMES;

    const NODE: NodeId = NodeId([0x11; 32]);
    const EPOCH: Epoch = Epoch([0xe9, 0x0c, 0x4a, 0x11, 0x22, 0x33, 0x44, 0x55]);
    const RUN: EpochRange = EpochRange { epoch: EPOCH, first_seq: 301, last_seq: 8640, frames: 8340, gone_to: 300 };

    /// The bytes of one golden message.
    fn golden(name: &str) -> Vec<u8> {
        let file = include_str!("../../tests/golden/history.hex");
        let line = file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        let digit = |at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
        (0..line.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn requests_have_their_golden_bytes() {
        for (name, request) in [
            ("summary_request", Request::Summary { node: NODE, since_us: None }),
            ("summary_since_request", Request::Summary { node: NODE, since_us: Some(1_764_000_000_123_456) }),
            (
                "frames_request",
                Request::Frames { node: NODE, epoch: EPOCH, from: 301, to: u64::MAX, max_bytes: 65_536 },
            ),
        ] {
            assert_eq!(request.encode().unwrap(), golden(name), "{name}");
            assert_eq!(Request::decode(&golden(name)).unwrap(), request);
        }
    }

    #[test]
    fn responses_have_their_golden_bytes() {
        let summary = Summary { first: Some((EPOCH, 400)), older: true, runs: vec![RUN] };
        for (name, response) in [
            ("empty_summary", Response::Summary(Summary::default())),
            ("summary", Response::Summary(summary)),
            ("frames", Response::Frames { next_seq: 303, frames: vec![vec![1, 2, 3], vec![4; 130]] }),
            ("busy", Response::Busy { retry_after_ms: 1000 }),
        ] {
            assert_eq!(response.encode().unwrap(), golden(name), "{name}");
            assert_eq!(Response::decode(&golden(name)).unwrap(), response);
        }
    }

    #[test]
    fn what_is_too_much_or_left_over_or_no_range_is_refused() {
        let frames = |from, to| Request::Frames { node: NODE, epoch: EPOCH, from, to, max_bytes: 1 }.encode().unwrap();
        assert!(Request::decode(&frames(0, 1)).is_err() && Request::decode(&frames(2, 1)).is_err());
        assert!(Request::decode(&[frames(1, 1), vec![0]].concat()).is_err());
        assert!(Request::decode(&[2]).is_err() && Request::decode(&[]).is_err());
        let refused = |response: Response| Response::decode(&response.encode().unwrap()).is_err();
        assert!(refused(Response::Frames { next_seq: 1, frames: vec![vec![0; MAX_FRAME_BYTES + 1]] }));
        assert!(refused(Response::Frames { next_seq: 1, frames: vec![vec![]; MAX_FRAMES + 1] }));
        assert!(refused(Response::Summary(Summary { runs: vec![RUN; MAX_RUNS + 1], ..Summary::default() })));
        assert!(Response::decode(&[2, 0, 0]).is_err() && Response::decode(&[3]).is_err());
        assert!(Response::decode(&[1, 1, 5, 0]).is_err(), "a frame cut short");
    }

    #[test]
    fn the_largest_of_each_fits() {
        let largest =
            EpochRange { epoch: EPOCH, first_seq: u64::MAX, last_seq: u64::MAX, frames: u64::MAX, gone_to: u64::MAX };
        let runs = vec![largest; MAX_RUNS];
        let summary = Response::Summary(Summary { first: Some((EPOCH, u64::MAX)), older: true, runs });
        assert!(summary.encode().unwrap().len() as u64 <= MAX_RESPONSE_BYTES);
        let frames = Response::Frames { next_seq: u64::MAX, frames: vec![vec![0; 100]; ANSWER_BYTES / 100] };
        assert!(frames.encode().unwrap().len() as u64 <= MAX_RESPONSE_BYTES);
        let max_bytes = u32::MAX;
        let request = Request::Frames { node: NODE, epoch: EPOCH, from: u64::MAX, to: u64::MAX, max_bytes };
        assert!(request.encode().unwrap().len() as u64 <= MAX_REQUEST_BYTES);
    }
}
