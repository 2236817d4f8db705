//! Watches folders and tells when their content may have changed.
//!
//! Folders, never files: a ConfigMap replaces a symlink, and a watch on the file behind it goes deaf after the first time.
//! Where the kernel tells nothing (network file systems, a folder that was replaced as a whole) the content's digest is
//! compared now and then.

use std::{
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tracing::warn;

/// How eagerly to look.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long nothing must happen before a change is told: editors and `git` write in several steps.
    pub quiet: Duration,
    /// How often the content is compared where no event came.
    pub poll: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(300), poll: Duration::from_secs(30) }
    }
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    signals: mpsc::Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Changed,
    Stop,
}

/// Quiet windows that a change may be put off by further ones.
const POSTPONED_MAX: usize = 10;

impl Watch {
    /// Watches `folders` and sends a unit after each change; changes that nobody has taken yet are one.
    ///
    /// `digest` names the content of the folders; `None` where they cannot be read.
    ///
    /// # Errors
    ///
    /// The thread cannot be started. A folder that cannot be watched is polled instead, and a warning says so.
    pub fn start(
        folders: Vec<PathBuf>,
        pace: Pace,
        digest: impl Fn() -> Option<String> + Send + 'static,
    ) -> std::io::Result<(Self, Receiver<()>)> {
        let (signals, received) = mpsc::channel();
        let (changed, changes) = channel(1);
        let events = signals.clone();
        // Before the thread runs: what happens after this function returns is seen.
        let watcher = watcher(&folders, &events);
        let mut known = digest();
        let run = move || {
            let mut watcher = watcher;
            loop {
                match received.recv_timeout(pace.poll) {
                    Ok(Signal::Changed) => {
                        if settle(&received, pace.quiet) == Signal::Stop {
                            return;
                        }
                        known = digest();
                    }
                    Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        let found = digest();
                        if found == known {
                            continue;
                        }
                        known = found;
                        // Events should have told: the folder that is watched may be one that was moved away.
                        drop(watcher);
                        watcher = self::watcher(&folders, &events);
                    }
                }
                if !tell(&changed) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(run)?;
        Ok((Self { signals, thread: Some(thread) }, changes))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let is_running = self.signals.send(Signal::Stop).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| is_running)
            && thread.join().is_err()
        {
            warn!("the watch of the policy folders had stopped before it was told to");
        }
    }
}

/// Waits until nothing has happened for `quiet`, at most [`POSTPONED_MAX`] times.
fn settle(received: &mpsc::Receiver<Signal>, quiet: Duration) -> Signal {
    for _ in 0..POSTPONED_MAX {
        match received.recv_timeout(quiet) {
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Signal::Stop,
            Err(RecvTimeoutError::Timeout) => return Signal::Changed,
            Ok(Signal::Changed) => {
                // A burst comes as many events: what is there by now is one.
                while let Ok(signal) = received.try_recv() {
                    if signal == Signal::Stop {
                        return Signal::Stop;
                    }
                }
            }
        }
    }
    Signal::Changed
}

/// Says whether anybody still listens.
fn tell(changed: &Sender<()>) -> bool {
    match changed.try_send(()) {
        Ok(()) | Err(TrySendError::Full(())) => true,
        Err(TrySendError::Closed(())) => false,
    }
}

fn watcher(folders: &[PathBuf], signals: &mpsc::Sender<Signal>) -> Option<RecommendedWatcher> {
    let signals = signals.clone();
    let on_event = move |event: notify::Result<Event>| {
        let is_change = match event.map(|event| event.kind) {
            // Reading the folders must not look like a change of them.
            Ok(EventKind::Access(AccessKind::Close(AccessMode::Write))) => true,
            Ok(EventKind::Access(_)) => false,
            // An error may hide an event: look.
            Ok(_) | Err(_) => true,
        };
        // The watch may have ended already: then nobody needs to know.
        let _ended = is_change && signals.send(Signal::Changed).is_err();
    };
    let mut watcher = notify::recommended_watcher(on_event)
        .inspect_err(|error| warn!(%error, "folders cannot be watched: changes are found by polling"))
        .ok()?;
    for folder in folders {
        if let Err(error) = watcher.watch(folder, RecursiveMode::Recursive) {
            warn!(folder = %folder.display(), %error, "the folder cannot be watched: changes are found by polling");
        }
    }
    Some(watcher)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::Write,
        os::unix::fs::symlink,
        path::Path,
    };

    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);
    /// So long that only events can be the reason.
    const BY_EVENTS: Pace = Pace { quiet: Duration::from_millis(30), poll: Duration::from_secs(3600) };

    fn write(path: &Path, text: &str) {
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    async fn told(changes: &mut Receiver<()>) {
        timeout(DEADLINE, changes.recv()).await.expect("a change is told").expect("the watch runs");
    }

    #[tokio::test]
    async fn an_edit_and_a_new_file_in_a_new_folder_are_told() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a.cedar"), "1");
        let (_watch, mut changes) = Watch::start(vec![folder.path().into()], BY_EVENTS, || None).unwrap();
        write(&folder.path().join("a.cedar"), "2");
        told(&mut changes).await;
        fs::create_dir(folder.path().join("roles")).unwrap();
        told(&mut changes).await;
        write(&folder.path().join("roles/b.cedar"), "3");
        told(&mut changes).await;
    }

    #[tokio::test]
    async fn every_swap_of_a_configmap_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let publish = |version: &str| {
            fs::create_dir(at(version)).unwrap();
            write(&at(version).join("a.cedar"), version);
            symlink(version, at("..data_tmp")).unwrap();
            rustix::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        };
        publish("..v1");
        symlink("..data/a.cedar", at("a.cedar")).unwrap();
        let (_watch, mut changes) = Watch::start(vec![folder.path().into()], BY_EVENTS, || None).unwrap();
        for (version, old) in [("..v2", "..v1"), ("..v3", "..v2"), ("..v4", "..v3")] {
            publish(version);
            fs::remove_dir_all(at(old)).unwrap();
            told(&mut changes).await;
            assert_eq!(fs::read_to_string(at("a.cedar")).unwrap(), version);
        }
    }

    #[tokio::test]
    async fn reading_the_folder_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.cedar");
        write(&file, "1");
        let (watch, mut changes) = Watch::start(vec![folder.path().into()], BY_EVENTS, || None).unwrap();
        for _ in 0..20 {
            fs::read_to_string(&file).unwrap();
        }
        // Ending the watch closes the channel: all that was told until then is in it.
        drop(watch);
        assert_eq!(timeout(DEADLINE, changes.recv()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_tell_is_found_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("policies");
        let digest = {
            let inside = inside.clone();
            move || fs::read_to_string(inside.join("a.cedar")).ok()
        };
        let pace = Pace { quiet: Duration::from_millis(30), poll: Duration::from_millis(50) };
        // The folder does not exist, so nothing can be watched.
        let (_watch, mut changes) = Watch::start(vec![inside.clone()], pace, digest).unwrap();
        fs::create_dir(&inside).unwrap();
        write(&inside.join("a.cedar"), "1");
        told(&mut changes).await;
    }
}
