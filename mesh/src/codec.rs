//! How a request and its response travel, whatever they ask and answer: postcard, each with a limit that is checked while reading.
//! Frames follow a response's header each behind its length, to the end: they can be read without setting memory aside on anybody's
//! word. Anything left over is an error.

use std::io;
use std::marker::PhantomData;

use libp2p::StreamProtocol;
use libp2p::futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::request_response;
use reading::MAX_FRAME_BYTES;
use serde::Serialize;

/// Frames of a response, whatever their size.
pub(crate) const MAX_FRAMES: usize = 2048;

/// A request or a response.
pub(crate) trait Message: Sized + Send + 'static {
    /// Longer ones are not read.
    const MAX_BYTES: u64;

    fn encode(&self) -> io::Result<Vec<u8>>;
    fn decode(bytes: &[u8]) -> io::Result<Self>;
}

/// Reads and writes the two messages of a protocol.
pub(crate) struct Codec<Q, A>(PhantomData<fn() -> (Q, A)>);

impl<Q, A> Clone for Codec<Q, A> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<Q, A> Default for Codec<Q, A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Q: Message, A: Message> request_response::Codec for Codec<Q, A> {
    type Protocol = StreamProtocol;
    type Request = Q;
    type Response = A;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Q> {
        Q::decode(&read(io, Q::MAX_BYTES).await?)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<A> {
        A::decode(&read(io, A::MAX_BYTES).await?)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Q,
    ) -> io::Result<()> {
        io.write_all(&request.encode()?).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: A,
    ) -> io::Result<()> {
        io.write_all(&response.encode()?).await
    }
}

/// A response's header, and its frames behind it.
pub(crate) fn encode_with_frames(header: &impl Serialize, frames: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_stdvec(header).map_err(invalid)?;
    for frame in frames {
        bytes = postcard::to_extend(&frame.as_slice(), bytes).map_err(invalid)?;
    }
    Ok(bytes)
}

/// The frames behind a header, to the end.
pub(crate) fn decode_frames(mut rest: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (frame, after) = postcard::take_from_bytes::<&[u8]>(rest).map_err(invalid)?;
        if frame.len() > MAX_FRAME_BYTES || frames.len() == MAX_FRAMES {
            return Err(invalid("more than a response holds"));
        }
        frames.push(frame.to_vec());
        rest = after;
    }
    Ok(frames)
}

/// Everything up to the end of the stream, if that is no more than `limit`.
async fn read<T: AsyncRead + Unpin + Send>(io: &mut T, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(limit + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > limit { Err(invalid("longer than allowed")) } else { Ok(bytes) }
}

pub(crate) fn invalid(problem: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reading_stops_at_the_limit() {
        let endless = || libp2p::futures::io::repeat(1);
        assert!(read(&mut endless(), 1024).await.is_err());
        let exact = read(&mut endless().take(1024), 1024).await.unwrap();
        assert_eq!(exact.len(), 1024);
    }
}
