//! `/magpie/directory/1`: asking a peer which nodes it knows.
//!
//! A request is postcard; a response is a postcard header and then each frame behind its length, to the end: it can be read without
//! setting memory aside on anybody's word. Both have a limit that is checked while reading. Anything left over is an error.

use std::io;

use libp2p::StreamProtocol;
use libp2p::futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::request_response;
use reading::{Label, MAX_FRAME_BYTES};
use serde::{Deserialize, Serialize};

pub(crate) const NAME: StreamProtocol = StreamProtocol::new("/magpie/directory/1");
/// Bytes of a request.
const MAX_REQUEST_BYTES: u64 = 1024;
/// Bytes of a response.
const MAX_RESPONSE_BYTES: u64 = 256 * 1024;
/// Frames of a response, whatever their size.
const MAX_FRAMES: usize = 2048;
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

/// Reads and writes them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Codec;

impl Request {
    fn encode(&self) -> io::Result<Vec<u8>> {
        postcard::to_stdvec(self).map_err(invalid)
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let (request, rest) = postcard::take_from_bytes(bytes).map_err(invalid)?;
        if rest.is_empty() { Ok(request) } else { Err(invalid("trailing bytes")) }
    }
}

impl Response {
    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = postcard::to_stdvec(&(self.next, self.more)).map_err(invalid)?;
        for frame in &self.frames {
            bytes = postcard::to_extend(&frame.as_slice(), bytes).map_err(invalid)?;
        }
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let ((next, more), mut rest) = postcard::take_from_bytes(bytes).map_err(invalid)?;
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let (frame, after) = postcard::take_from_bytes::<&[u8]>(rest).map_err(invalid)?;
            if frame.len() > MAX_FRAME_BYTES || frames.len() == MAX_FRAMES {
                return Err(invalid("more than a page holds"));
            }
            frames.push(frame.to_vec());
            rest = after;
        }
        Ok(Self { next, more, frames })
    }
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Request> {
        Request::decode(&read(io, MAX_REQUEST_BYTES).await?)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Response> {
        Response::decode(&read(io, MAX_RESPONSE_BYTES).await?)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Request,
    ) -> io::Result<()> {
        io.write_all(&request.encode()?).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Response,
    ) -> io::Result<()> {
        io.write_all(&response.encode()?).await
    }
}

/// Everything up to the end of the stream, if that is no more than `limit`.
async fn read<T: AsyncRead + Unpin + Send>(io: &mut T, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(limit + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > limit { Err(invalid("longer than allowed")) } else { Ok(bytes) }
}

fn invalid(problem: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[tokio::test]
    async fn reading_stops_at_the_limit() {
        let endless = || libp2p::futures::io::repeat(1);
        assert!(read(&mut endless(), 1024).await.is_err());
        let exact = read(&mut endless().take(1024), 1024).await.unwrap();
        assert_eq!(exact.len(), 1024);
    }
}
