//! `/magpie/directory/1`: asking a peer which nodes it knows.

use std::io;

use libp2p::StreamProtocol;
use reading::Label;
use serde::{Deserialize, Serialize};

use crate::codec::{Message, decode_frames, encode_with_frames, invalid};

pub(crate) const NAME: StreamProtocol = StreamProtocol::new("/magpie/directory/1");
/// Bytes of a request.
const MAX_REQUEST_BYTES: u64 = 1024;
/// Bytes of a response.
const MAX_RESPONSE_BYTES: u64 = 256 * 1024;
/// Bytes of frames that we put into one. A page of this is checked in some milliseconds on a Pi, during which nothing else is done.
pub(crate) const PAGE_BYTES: usize = 64 * 1024;

/// What announcements have you, of nodes that you heard of after this?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Only of this city.
    pub(crate) city: Option<Label>,
    /// `next` of the last response on this connection, 0 at first.
    pub(crate) after: u64,
}

/// Some announcements.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Response {
    /// What to ask for next. It means something only to who gave it, and only on this connection.
    pub(crate) next: u64,
    /// Whether there are more now.
    pub(crate) more: bool,
    /// Frames as they were signed.
    pub(crate) frames: Vec<Vec<u8>>,
}

impl Message for Request {
    const MAX_BYTES: u64 = MAX_REQUEST_BYTES;

    fn encode(&self) -> io::Result<Vec<u8>> {
        postcard::to_stdvec(self).map_err(invalid)
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let (request, rest) = postcard::take_from_bytes(bytes).map_err(invalid)?;
        if rest.is_empty() { Ok(request) } else { Err(invalid("trailing bytes")) }
    }
}

impl Message for Response {
    const MAX_BYTES: u64 = MAX_RESPONSE_BYTES;

    fn encode(&self) -> io::Result<Vec<u8>> {
        encode_with_frames(&(self.next, self.more), &self.frames)
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let ((next, more), rest) = postcard::take_from_bytes(bytes).map_err(invalid)?;
        Ok(Self { next, more, frames: decode_frames(rest)? })
    }
}

#[cfg(test)]
mod tests {
    use reading::MAX_FRAME_BYTES;

    use super::*;
    use crate::codec::MAX_FRAMES;
    use crate::testing::label;

    #[test]
    fn requests_and_responses_read_as_they_are_written() {
        for request in [Request { city: None, after: 0 }, Request { city: Some(label("seoul")), after: u64::MAX }] {
            assert_eq!(Request::decode(&request.encode().unwrap()).unwrap(), request);
        }
        for frames in [vec![], vec![vec![1; 300], vec![], vec![2; MAX_FRAME_BYTES]]] {
            let response = Response { next: 7, more: true, frames };
            assert_eq!(Response::decode(&response.encode().unwrap()).unwrap(), response);
        }
    }

    #[test]
    fn what_is_too_much_or_left_over_is_refused() {
        let mut request = Request { city: None, after: 0 }.encode().unwrap();
        request.push(0);
        assert!(Request::decode(&request).is_err());
        assert!(Request::decode(&[1, 3, b'A', b'b', b'c', 0]).is_err(), "no label");
        let too_long = Response { frames: vec![vec![0; MAX_FRAME_BYTES + 1]], ..Response::default() };
        assert!(Response::decode(&too_long.encode().unwrap()).is_err());
        let too_many = Response { frames: vec![vec![]; MAX_FRAMES + 1], ..Response::default() };
        assert!(Response::decode(&too_many.encode().unwrap()).is_err());
        let mut cut = Response { frames: vec![vec![0; 100]], ..Response::default() }.encode().unwrap();
        cut.pop();
        assert!(Response::decode(&cut).is_err());
        assert!(Response::decode(&[]).is_err());
    }
}
