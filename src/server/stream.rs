//! The stream of one connection, between the socket and the HTTP library.

use super::screen::Screen;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client has to read the last answer and close its side.
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);
/// How many bytes of a client are discarded after the last answer.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// A stream whose bytes are screened, and whose end does not destroy the last answer.
///
/// A socket that is closed while unread bytes are in it resets the connection, and the client may
/// lose the answer that was just sent. So the end of the answers is sent first, and what the
/// client still sends is discarded until it closes its side, within limits.
pub(super) struct Stream<S> {
    inner: S,
    screen: Screen,
    lingers: Arc<AtomicBool>,
    discarding: Option<Discarding>,
}

struct Discarding {
    end: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> Stream<S> {
    /// Wraps a stream. Clearing the flag makes its end immediate.
    pub(super) fn new(inner: S) -> (Stream<S>, Arc<AtomicBool>) {
        let lingers = Arc::new(AtomicBool::new(true));
        let stream =
            Stream { inner, screen: Screen::new(), lingers: lingers.clone(), discarding: None };
        (stream, lingers)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.screen.pass(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut *self;
        if stream.discarding.is_none() {
            ready!(Pin::new(&mut stream.inner).poll_shutdown(context))?;
            let end = Box::pin(sleep(LINGER_TIME_MAX));
            stream.discarding = Some(Discarding { end, bytes_left: LINGER_BYTES_MAX });
        }
        let Some(discarding) = &mut stream.discarding else { return Poll::Ready(Ok(())) };
        let mut scratch = [0; 4096];
        while stream.lingers.load(Ordering::Relaxed)
            && discarding.bytes_left > 0
            && discarding.end.as_mut().poll(context).is_pending()
        {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut stream.inner).poll_read(context, &mut buffer));
            let count = buffer.filled().len();
            if read.is_err() || count == 0 {
                break;
            }
            discarding.bytes_left = discarding.bytes_left.saturating_sub(count);
        }
        Poll::Ready(Ok(()))
    }
}
