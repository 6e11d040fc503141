//! Ending connections on which nothing comes any more.
//!
//! A network that is gone tells nobody. libp2p's ping finds out, but takes its time: of its failures the first is not told, and the second waits for a
//! stream to be opened, 10 s whatever is configured: 20 to 25 s with a ping each 5. And a connection that it then wants closed has to
//! send what is queued first, which takes the kernel a quarter of an hour to give up. So it is done here, below everything else: peers that live
//! ping us, and answer our pings.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use libp2p::futures::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};

/// A stream that fails when nothing was read from it for a while.
pub(crate) struct Watched<S> {
    stream: S,
    longest: Duration,
    heard: Instant,
    /// Not moved at each read, which would cost more than the read: when it goes off it is set to when there would have been silence for `longest`.
    alarm: Pin<Box<Sleep>>,
}

impl<S> Watched<S> {
    /// Watches a stream that was just opened.
    pub(crate) fn new(stream: S, longest: Duration) -> Self {
        Self { stream, longest, heard: Instant::now(), alarm: Box::pin(sleep(longest)) }
    }

    /// What is said instead of "not yet".
    fn patience<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let end = self.heard + self.longest;
            if end <= Instant::now() {
                let problem = format!("nothing came for {} s", self.longest.as_secs_f32());
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, problem)));
            }
            self.alarm.as_mut().reset(end);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let watched = self.get_mut();
        // What has come counts, however late it is read.
        match Pin::new(&mut watched.stream).poll_read(cx, buffer) {
            Poll::Pending => watched.patience(cx),
            read => {
                watched.heard = Instant::now();
                read
            }
        }
    }
}

/// What waits to be sent waits no longer: who closes a connection does not read from it.
impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let watched = self.get_mut();
        match Pin::new(&mut watched.stream).poll_write(cx, bytes) {
            Poll::Pending => watched.patience(cx),
            written => written,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let watched = self.get_mut();
        match Pin::new(&mut watched.stream).poll_flush(cx) {
            Poll::Pending => watched.patience(cx),
            flushed => flushed,
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let watched = self.get_mut();
        match Pin::new(&mut watched.stream).poll_close(cx) {
            Poll::Pending => watched.patience(cx),
            closed => closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::futures::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONGEST: Duration = Duration::from_millis(200);

    /// A stream that gives a byte from time to time, for a while, and takes none: its buffers are full.
    struct Full {
        bytes: usize,
        next: Pin<Box<Sleep>>,
    }

    const STEP: Duration = Duration::from_millis(50);

    impl Full {
        fn giving(bytes: usize) -> Watched<Self> {
            Watched::new(Self { bytes, next: Box::pin(sleep(STEP)) }, LONGEST)
        }
    }

    impl AsyncRead for Full {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            if self.bytes == 0 {
                return Poll::Pending;
            }
            ready!(self.next.as_mut().poll(cx));
            self.next = Box::pin(sleep(STEP));
            self.bytes -= 1;
            Poll::Ready(Ok(1))
        }
    }

    impl AsyncWrite for Full {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_stream_lives_as_long_as_something_comes() {
        let started = Instant::now();
        let mut stream = Full::giving(10);
        for _ in 0..10 {
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 1);
        }
        assert!(started.elapsed() > 2 * LONGEST, "{:?}", started.elapsed());
        let last = Instant::now();
        let error = stream.read(&mut [0]).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::TimedOut, "nothing came for 0.2 s"));
        assert!(last.elapsed() > LONGEST / 2, "{:?}", last.elapsed());
    }

    #[tokio::test]
    async fn who_cannot_send_what_is_queued_can_close_a_stream_all_the_same() {
        let mut stream = Full::giving(0);
        assert_eq!(stream.write(b"to nobody").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(Full::giving(0).flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(Full::giving(0).close().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
