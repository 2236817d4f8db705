//! The accept loop: connections with limits on their number, their headers and their silence, and a graceful end.
//!
//! `axum::serve` sets no timer, so a caller could hold a connection for ever; this loop drives hyper itself.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Limits,
    body::Body,
    listen::Door,
    pulse::{Pulse, Watched},
};
use crate::clock::Clock;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The ids that the kernel vouches for.
    Unix {
        uid: u32,
        gid: u32,
    },
    Tcp(SocketAddr),
}

/// Answers requests; each listener has one.
pub trait Handle: Send + Sync + 'static {
    /// Answers one request. Dropped when the caller hangs up: what must finish is to be detached.
    fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Answer> + Send;
}

/// An answer. All but exports are whole.
pub type Answer = Response<Body>;

/// What every listener of the process shares.
#[derive(Clone, Debug)]
pub struct House {
    pub clock: Arc<dyn Clock>,
    pub limits: Arc<Limits>,
    /// Watches connections and detached requests; to be awaited after `shutdown`.
    pub tasks: TaskTracker,
    /// Cancelled once: listeners close, connections finish what they began.
    pub shutdown: CancellationToken,
}

/// Accepts and serves until the shutdown, then returns; connections go on in `house.tasks` until they are done.
pub async fn serve<H: Handle>(door: Door, handler: Arc<H>, house: House) {
    let hall = Arc::new(Hall::new(house));
    loop {
        tokio::select! {
            biased;
            () = hall.house.shutdown.cancelled() => return,
            accepted = accept(&door) => match accepted {
                Ok(stream) => admit(&hall, stream, Arc::clone(&handler)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    if is_shortage(&error) {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            },
        }
    }
}

enum Stream {
    Unix(tokio::net::UnixStream, Peer),
    Tcp(tokio::net::TcpStream, Peer),
}

async fn accept(door: &Door) -> io::Result<Stream> {
    match door {
        Door::Unix(door) => {
            let (stream, _) = door.listener.accept().await?;
            let peer = stream.peer_cred()?;
            Ok(Stream::Unix(stream, Peer::Unix { uid: peer.uid(), gid: peer.gid() }))
        }
        Door::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream, Peer::Tcp(address)))
        }
    }
}

// Out of files or memory: trying again at once would only spin.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].iter().any(|shortage| errno == Some(*shortage))
}

/// What the connections of one listener share.
struct Hall {
    house: House,
    builder: auto::Builder<Tracked>,
    places: Arc<Semaphore>,
    /// Connections that have not sent one whole header, oldest first.
    headless: Mutex<BTreeMap<u64, CancellationToken>>,
    next_id: AtomicU64,
}

impl Hall {
    fn new(house: House) -> Self {
        let limits = Arc::clone(&house.limits);
        let mut builder = auto::Builder::new(Tracked(house.tasks.clone()));
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None) // `Pulse` looks out for headers
            .max_buf_size(limits.headers_bytes_max)
            .max_headers(limits.headers_max);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(u32::try_from(limits.headers_bytes_max).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(20)
            .keep_alive_interval(limits.http2_keep_alive)
            .keep_alive_timeout(limits.http2_keep_alive);
        let places = Arc::new(Semaphore::new(limits.connections_max));
        Self { house, builder, places, headless: Mutex::default(), next_id: AtomicU64::new(0) }
    }

    fn headless(&self) -> MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        self.headless.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection that has sent nothing yet, and closes the oldest such one if they are too many.
    fn enter(&self) -> (u64, CancellationToken) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let evicted = CancellationToken::new();
        let mut headless = self.headless();
        headless.insert(id, evicted.clone());
        if headless.len() > self.house.limits.headless_max
            && let Some((_, oldest)) = headless.pop_first()
        {
            oldest.cancel();
        }
        (id, evicted)
    }
}

fn admit<H: Handle>(hall: &Arc<Hall>, stream: Stream, handler: Arc<H>) {
    let Ok(place) = Arc::clone(&hall.places).try_acquire_owned() else {
        tracing::warn!(connections_max = hall.house.limits.connections_max, "a connection beyond the limit was closed");
        return;
    };
    let hall = Arc::clone(hall);
    let tasks = hall.house.tasks.clone();
    let task = async move {
        match stream {
            Stream::Unix(stream, peer) => connection(&hall, stream, peer, handler).await,
            Stream::Tcp(stream, peer) => connection(&hall, stream, peer, handler).await,
        }
        drop(place);
    };
    drop(tasks.spawn(task));
}

async fn connection<H, S>(hall: &Arc<Hall>, stream: S, peer: Peer, handler: Arc<H>)
where
    H: Handle,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (id, evicted) = hall.enter();
    let pulse = Arc::new(Pulse::new(Arc::clone(&hall.house.clock)));
    let service = service_fn(|request: Request<Incoming>| {
        let beat = Beat::new(&pulse, request.version() == http::Version::HTTP_2, || {
            hall.headless().remove(&id);
        });
        // Boxed: the connection moves what it is given several times before it first asks for the answer.
        let answer = Box::pin(Arc::clone(&handler).handle(request, peer.clone()));
        async move {
            let answer = answer.await;
            // An answer in pieces keeps its connection busy until they are made.
            answer.body().hold(beat);
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&pulse)));
    let mut serving = pin!(hall.builder.serve_connection(io, service));
    let mut stop = pin!(hall.house.shutdown.cancelled());
    let mut gone = pin!(evicted.cancelled());
    let mut lookout = pin!(Lookout::new(&pulse, &hall.house.limits));
    let mut is_stopping = false;
    std::future::poll_fn(|cx| {
        if !is_stopping && stop.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            serving.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
            return Poll::Ready(());
        }
        if gone.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        lookout.as_mut().poll(cx)
    })
    .await;
    hall.headless().remove(&id);
}

/// Counts one request of a connection while it lives.
struct Beat(Arc<Pulse>);

impl Beat {
    fn new(pulse: &Arc<Pulse>, is_http2: bool, first: impl FnOnce()) -> Self {
        if pulse.begin(is_http2) {
            first();
        }
        Self(Arc::clone(pulse))
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Ready when the connection was silent for too long. Its timer is moved only when the state asks for an earlier one.
struct Lookout<'c> {
    pulse: &'c Pulse,
    limits: &'c Limits,
    timer: Pin<Box<tokio::time::Sleep>>,
    /// When the timer fires, by the clock.
    fires_at: Duration,
    clock: &'c dyn Clock,
}

impl<'c> Lookout<'c> {
    fn new(pulse: &'c Pulse, limits: &'c Limits) -> Self {
        let clock = pulse.clock();
        let timer = Box::pin(tokio::time::sleep(limits.first_byte));
        Self { pulse, limits, timer, fires_at: clock.elapsed() + limits.first_byte, clock }
    }
}

impl Future for Lookout<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        loop {
            let left = self.pulse.left(self.limits);
            if left == Some(Duration::ZERO) {
                return Poll::Ready(());
            }
            // A request under way ends by its own deadline; look again after a full rest at the latest.
            let left = left.unwrap_or(self.limits.idle);
            if self.clock.elapsed() + left < self.fires_at {
                self.arm(left);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.arm(left);
        }
    }
}

impl Lookout<'_> {
    fn arm(&mut self, left: Duration) {
        // A millisecond more, so that the timer does not fire just before the time is over.
        let left = left + Duration::from_millis(1);
        self.fires_at = self.clock.elapsed() + left;
        self.timer.set(tokio::time::sleep(left));
    }
}

/// Spawns what hyper wants spawned where it is watched.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        drop(self.0.spawn(task));
    }
}
