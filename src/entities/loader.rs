//! The thread that loads of one PostgreSQL database run on.
//!
//! Apart from the threads that judge: what a server answered would wait there behind every evaluation that is due, once
//! for each step of a load.

use std::{io, thread};

use tokio::{
    runtime::{Builder, EnterGuard, Handle},
    sync::oneshot,
};

use crate::domain::mapping::Source;

/// Runs until it is dropped. A load that is then under way is dropped too, which lands it as failed.
#[derive(Debug)]
pub(super) struct Loader {
    handle: Handle,
    /// Never sent: the thread waits for it to go.
    _until: oneshot::Sender<()>,
}

impl Loader {
    pub(super) fn start(source: Source) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (until, gone) = oneshot::channel();
        thread::Builder::new().name(format!("loads-{}", source.as_str())).spawn(move || {
            let _dropped = runtime.block_on(gone);
        })?;
        Ok(Self { handle, _until: until })
    }

    /// Starts a load and lets it go: it outlives whoever asked for it.
    pub(super) fn run(&self, load: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(load));
    }

    /// While this stands, what is made belongs to the thread, as a pool and what it does by itself.
    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        time::Duration,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn loads_run_on_a_thread_of_their_own_and_end_with_it() {
        let loader = Loader::start(Source::App).unwrap();
        let (tell, told) = mpsc::channel();
        loader.run(async move { tell.send(thread::current().name().map(str::to_owned)).unwrap() });
        assert_eq!(told.recv_timeout(PATIENCE).unwrap().as_deref(), Some("loads-app"));

        let (held, (begun, began), (gone, is_gone)) = (Arc::new(()), mpsc::channel(), mpsc::channel::<()>());
        let seen = Arc::downgrade(&held);
        loader.run(async move {
            let _held = (held, gone);
            begun.send(()).unwrap();
            std::future::pending().await
        });
        began.recv_timeout(PATIENCE).unwrap();
        drop(loader);
        assert!(is_gone.recv_timeout(PATIENCE).is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected));
        assert!(seen.upgrade().is_none());
    }
}
