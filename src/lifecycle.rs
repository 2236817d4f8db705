//! The life of the process: watched work in the background, and a shutdown in stages.
//!
//! A background task that ends while it should run takes the process with it: a sidecar that answers without its writer
//! or its feed would look alive and be wrong. Nothing here knows what the work is.

use std::{any::Any, error::Error, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::telemetry::{Chain, Readiness};

/// Why watched work failed.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why the process ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    #[error("the background task `{name}` failed")]
    Failed {
        name: &'static str,
        #[source]
        cause: Cause,
    },
    #[error("the background task `{name}` ended while it should run")]
    Ended { name: &'static str },
    #[error("the background task `{name}` panicked: {message}")]
    Panicked { name: &'static str, message: String },
    #[error("cannot start the thread `{name}`")]
    Thread {
        name: &'static str,
        #[source]
        cause: std::io::Error,
    },
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    #[error("{} background tasks did not end within {waited:?}", .unfinished)]
    Unfinished { unfinished: usize, waited: Duration },
}

/// The stages of an end, in their order. A part waits for the one that concerns it.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    /// Accept nothing new: for listeners, the feed, the watcher of folders.
    pub stopping: CancellationToken,
    /// No request is in flight any more: for what requests need to be answered, the writer of the trail above all.
    pub flushing: CancellationToken,
    /// Waiting is over.
    pub killing: CancellationToken,
}

/// Where background work and requests in flight are registered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    pub readiness: Readiness,
    stages: Stages,
    background: TaskTracker,
    requests: TaskTracker,
    deaths: mpsc::UnboundedSender<LifecycleError>,
}

/// The other end: waits for a signal or a death. There is one.
#[derive(Debug)]
pub struct Watch {
    lifecycle: Lifecycle,
    deaths: mpsc::UnboundedReceiver<LifecycleError>,
    signals: Option<Signals>,
}

/// The bounds of the stages.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For requests in flight.
    pub drain: Duration,
    /// For background tasks after that: the last flush.
    pub flush: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { drain: Duration::from_secs(10), flush: Duration::from_secs(5) }
    }
}

impl Lifecycle {
    pub fn new() -> (Self, Watch) {
        let (sender, deaths) = mpsc::unbounded_channel();
        let lifecycle = Self {
            readiness: Readiness::default(),
            stages: Stages::default(),
            background: TaskTracker::new(),
            requests: TaskTracker::new(),
            deaths: sender,
        };
        (lifecycle.clone(), Watch { lifecycle, deaths, signals: None })
    }

    pub const fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Begins to stop, as SIGTERM does.
    pub fn stop(&self) {
        self.stages.stopping.cancel();
    }

    /// Starts a background task that must run until the process stops. It is told by [`Stages`], and is
    /// dropped at [`Stages::killing`]. An error, a panic or an early end stops the process.
    pub fn watch<F, E>(&self, name: &'static str, work: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Cause>,
    {
        let lifecycle = self.clone();
        let work = Box::pin(work);
        let task = async move {
            let outcome = tokio::select! {
                outcome = AssertUnwindSafe(work).catch_unwind() => outcome,
                () = lifecycle.stages.killing.cancelled() => return,
            };
            lifecycle.judge(name, outcome.map(|ended| ended.map_err(Into::into)));
        };
        self.background.spawn(task);
    }

    /// Runs `work` on a thread of its own, under the same watch. It gets the stages and must end soon
    /// after `stopping` or `flushing`.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Thread`] when the system has none left.
    pub fn watch_thread<F, E>(&self, name: &'static str, work: F) -> Result<(), LifecycleError>
    where
        F: FnOnce(&Stages) -> Result<(), E> + Send + 'static,
        E: Into<Cause>,
    {
        let lifecycle = self.clone();
        let token = self.background.token();
        let run = move || {
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| work(&lifecycle.stages)));
            lifecycle.judge(name, outcome.map(|ended| ended.map_err(Into::into)));
            drop(token);
        };
        // Its end is told by `judge` and by the token, so that nobody has to join it.
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        started.map(drop).map_err(|cause| LifecycleError::Thread { name, cause })
    }

    /// Reports the death of something that others watch over, such as a writer that owns its thread.
    pub fn died(&self, name: &'static str, cause: impl Into<Cause>) {
        self.bury(LifecycleError::Failed { name, cause: cause.into() });
    }

    /// Starts work that must finish though nobody waits for it any more: a request whose caller hung up.
    pub fn detach<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.requests.spawn(work)
    }

    /// The tracker of requests in flight, for a listener that starts them itself.
    pub fn requests(&self) -> TaskTracker {
        self.requests.clone()
    }

    /// Counts `work` among the requests in flight while it lasts, without starting a task.
    pub fn in_flight<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.requests.track_future(work)
    }

    fn judge(&self, name: &'static str, outcome: Result<Result<(), Cause>, Box<dyn Any + Send>>) {
        match outcome {
            Ok(Ok(())) if self.stages.stopping.is_cancelled() => tracing::debug!(task = name, "background task ended"),
            Ok(Ok(())) => self.bury(LifecycleError::Ended { name }),
            Ok(Err(cause)) => self.bury(LifecycleError::Failed { name, cause }),
            Err(panic) => self.bury(LifecycleError::Panicked { name, message: panic_message(&*panic) }),
        }
    }

    fn bury(&self, death: LifecycleError) {
        tracing::error!(error = %Chain(&death), "background task died; the process stops");
        if self.deaths.send(death).is_err() {
            tracing::debug!("nobody watches any more");
        }
        self.stages.stopping.cancel();
    }
}

impl Watch {
    /// Takes signals from now on. Before anybody is told that the process runs: whoever stops it then gets an orderly end.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Signals`] if the system gives none.
    pub fn listen(&mut self) -> Result<(), LifecycleError> {
        if self.signals.is_none() {
            self.signals = Some(Signals::listen().map_err(LifecycleError::Signals)?);
        }
        Ok(())
    }

    /// Waits for SIGTERM, SIGINT or [`Lifecycle::stop`], or for a death; then stops in stages: accept nothing new,
    /// finish what is in flight, let the background work flush. A second signal ends the waiting.
    ///
    /// # Errors
    ///
    /// The first death, or [`LifecycleError::Unfinished`] when background work had to be dropped.
    pub async fn run(mut self, bounds: Bounds) -> Result<(), LifecycleError> {
        self.listen()?;
        let mut signals = match self.signals.take() {
            Some(signals) => signals,
            None => Signals::listen().map_err(LifecycleError::Signals)?,
        };
        let stages = self.lifecycle.stages.clone();
        tokio::select! {
            name = signals.next() => tracing::info!(signal = name, "stopping"),
            () = stages.stopping.cancelled() => {}
        }
        self.lifecycle.readiness.stopping();
        stages.stopping.cancel();
        let is_drained = self.wait(&self.lifecycle.requests, bounds.drain, &mut signals).await;
        if !is_drained {
            tracing::warn!(requests = self.lifecycle.requests.len(), "requests in flight are dropped");
        }
        stages.flushing.cancel();
        let is_flushed = self.wait(&self.lifecycle.background, bounds.flush, &mut signals).await;
        let unfinished = self.lifecycle.background.len();
        stages.killing.cancel();
        self.deaths.close();
        match self.deaths.recv().await {
            Some(death) => Err(death),
            None if is_flushed => Ok(()),
            None => Err(LifecycleError::Unfinished { unfinished, waited: bounds.flush }),
        }
    }

    /// Whether the tracked work ended in time.
    async fn wait(&self, tracker: &TaskTracker, bound: Duration, signals: &mut Signals) -> bool {
        tracker.close();
        tokio::select! {
            () = tracker.wait() => true,
            () = tokio::time::sleep(bound) => false,
            name = signals.next() => {
                tracing::warn!(signal = name, "a second signal: waiting no longer");
                false
            }
        }
    }
}

/// The two signals that ask for an end.
#[derive(Debug)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, std::io::Error> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Bounds = Bounds { drain: Duration::from_millis(50), flush: Duration::from_millis(50) };

    #[tokio::test]
    async fn a_task_that_fails_stops_the_process_and_is_named() {
        let (lifecycle, watch) = Lifecycle::new();
        lifecycle.watch("feed", async { Err::<(), _>("connection lost") });
        let error = watch.run(Bounds::default()).await.unwrap_err();
        assert_eq!(Chain(&error).to_string(), "the background task `feed` failed: connection lost");
        assert!(lifecycle.stages().killing.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_ends_early_stops_the_process() {
        let (lifecycle, watch) = Lifecycle::new();
        lifecycle.watch("feed", async { Ok::<(), Cause>(()) });
        let error = watch.run(Bounds::default()).await.unwrap_err();
        assert!(matches!(error, LifecycleError::Ended { name: "feed" }), "{error}");
    }

    #[tokio::test]
    async fn a_thread_that_panics_stops_the_process() {
        let (lifecycle, watch) = Lifecycle::new();
        lifecycle.watch_thread("writer", |_| -> Result<(), Cause> { panic!("no more pages") }).unwrap();
        let error = watch.run(Bounds::default()).await.unwrap_err();
        assert_eq!(error.to_string(), "the background task `writer` panicked: no more pages");
    }

    #[tokio::test]
    async fn work_in_flight_is_finished_and_background_work_flushes_after_it() {
        let (lifecycle, watch) = Lifecycle::new();
        let (order, mut done) = mpsc::unbounded_channel();
        let (stages, flushed) = (lifecycle.stages().clone(), order.clone());
        lifecycle.watch("writer", async move {
            stages.flushing.cancelled().await;
            flushed.send("flushed")
        });
        let stopping = lifecycle.stages().stopping.clone();
        drop(lifecycle.detach(async move {
            stopping.cancelled().await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            order.send("answered").unwrap();
        }));
        lifecycle.stop();
        watch.run(Bounds::default()).await.unwrap();
        assert_eq!([done.recv().await.unwrap(), done.recv().await.unwrap()], ["answered", "flushed"]);
    }

    #[tokio::test]
    async fn work_that_does_not_end_is_dropped_at_the_bound_and_said_so() {
        let (lifecycle, watch) = Lifecycle::new();
        lifecycle.watch("stuck", std::future::pending::<Result<(), Cause>>());
        lifecycle.stop();
        let error = watch.run(SOON).await.unwrap_err();
        assert!(matches!(error, LifecycleError::Unfinished { unfinished: 1, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_stopping_process_is_not_ready() {
        let (lifecycle, watch) = Lifecycle::new();
        lifecycle.readiness.ready("policies", "live");
        assert!(lifecycle.readiness.report().is_ready());
        lifecycle.stop();
        watch.run(Bounds::default()).await.unwrap();
        assert!(!lifecycle.readiness.report().is_ready());
    }
}
