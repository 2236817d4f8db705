//! How long a connection may be silent: one look-out for its first bytes, its headers and its rest between requests.
//!
//! hyper's own header timer cannot tell a resting connection from a slow one, takes a timer for every request, and does
//! not run before HTTP/1 and HTTP/2 are told apart. This one notes the time when the state changes and arms nothing.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Limits;
use crate::clock::Clock;

const OPENED: u8 = 0;
const READING: u8 = 1;
const RESTING: u8 = 2;

/// What one connection is doing, written by its reads and requests, read by its look-out.
#[derive(Debug)]
pub(super) struct Pulse {
    clock: Arc<dyn Clock>,
    phase: AtomicU8,
    since_ms: AtomicU64,
    in_flight: AtomicU32,
    has_had_head: AtomicBool,
    is_http2: AtomicBool,
}

impl Pulse {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let since_ms = AtomicU64::new(millis(clock.elapsed()));
        Self {
            clock,
            phase: AtomicU8::new(OPENED),
            since_ms,
            in_flight: AtomicU32::new(0),
            has_had_head: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
        }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// A whole head arrived. True for the first one of the connection.
    pub(super) fn begin(&self, is_http2: bool) -> bool {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.is_http2.store(is_http2, Ordering::Relaxed);
        !self.has_had_head.swap(true, Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.change(RESTING);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn bytes_came(&self) {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return;
        }
        match self.phase.load(Ordering::Relaxed) {
            OPENED => self.change(READING),
            // An HTTP/2 connection at rest still exchanges pings and windows.
            RESTING if !self.is_http2.load(Ordering::Relaxed) => self.change(READING),
            _ => {}
        }
    }

    fn change(&self, phase: u8) {
        self.since_ms.store(millis(self.clock.elapsed()), Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// How much longer the connection may stay as it is. `None` while a request is being answered: that has a deadline
    /// of its own.
    pub(super) fn left(&self, limits: &Limits) -> Option<Duration> {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let limit = match self.phase.load(Ordering::Relaxed) {
            OPENED => limits.first_byte,
            READING => limits.header,
            _ => limits.idle,
        };
        let since = Duration::from_millis(self.since_ms.load(Ordering::Relaxed));
        Some((since + limit).saturating_sub(self.clock.elapsed()))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A stream whose reads are noted.
pub(super) struct Watched<S> {
    stream: S,
    pulse: Arc<Pulse>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.bytes_came();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
