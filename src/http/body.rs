//! Bodies of answers: whole, as nearly all are, or in pieces, for exports that no memory should hold.

use std::{
    any::Any,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces that are made and not yet written.
const PIECES_AHEAD: usize = 2;
/// How long a reader may take for one piece.
const PIECE_WAIT: Duration = Duration::from_secs(30);

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    Whole(Full<Bytes>),
    /// The connection is broken off when the pieces end with an error, so that nobody takes a part for the whole.
    Pieces(mpsc::Receiver<Result<Bytes, Broken>>, Held),
}

/// The answer cannot be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer breaks off")]
pub struct Broken;

/// What lasts as long as the pieces are made: the connection counts as busy.
pub(super) type Held = Arc<Mutex<Option<Box<dyn Any + Send>>>>;

/// Where the pieces of a body are put in.
pub(super) struct Pieces {
    sender: mpsc::Sender<Result<Bytes, Broken>>,
    held: Held,
}

/// A body in pieces.
pub(super) fn pieces() -> (Pieces, Body) {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let held = Held::default();
    (Pieces { sender, held: Arc::clone(&held) }, Body::Pieces(receiver, held))
}

impl Pieces {
    /// Hands on one piece; an error when its reader is gone or too slow.
    pub(super) async fn send(&self, piece: Bytes) -> Result<(), Broken> {
        self.sender.send_timeout(Ok(piece), PIECE_WAIT).await.map_err(|_gone| Broken)
    }

    /// Breaks the answer off.
    pub(super) async fn break_off(self) {
        let told = self.sender.send_timeout(Err(Broken), PIECE_WAIT).await;
        tracing::debug!(is_told = told.is_ok(), "an answer in pieces broke off");
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Body {
    /// Keeps `value` until the last piece is made; a whole body is made already.
    pub(super) fn hold(&self, value: impl Any + Send) {
        if let Self::Pieces(receiver, held) = self
            && !receiver.is_closed()
        {
            *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(value));
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(whole) => {
                Pin::new(whole).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Self::Pieces(receiver, _) => receiver.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Pieces(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Pieces(..) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn pieces_arrive_in_order_and_a_break_is_no_end() {
        let (pieces, body) = pieces();
        body.hold(());
        let making = async move {
            for piece in [&b"a"[..], b"b", b"c"] {
                pieces.send(Bytes::from_static(piece)).await.unwrap();
            }
        };
        let ((), read) = tokio::join!(making, body.collect());
        assert_eq!(read.unwrap().to_bytes(), "abc");

        let (pieces, body) = super::pieces();
        let ((), read) = tokio::join!(pieces.break_off(), body.collect());
        assert_eq!(read.unwrap_err(), Broken);
    }

    #[tokio::test]
    async fn what_is_held_goes_with_the_last_piece() {
        let (pieces, body) = pieces();
        let value = Arc::new(());
        body.hold(Arc::clone(&value));
        assert_eq!(Arc::strong_count(&value), 2);
        drop(pieces);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
