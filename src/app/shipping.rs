//! The trail's shipping: the audit room's frames, the store room's tables, joined on the shipper's own thread.

use std::{future::Future, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

use super::{AppError, House};
use crate::{
    audit::{Sink, SinkError, Trail, VolumeKind},
    clock::Clock,
    config::{AuditShip, Config},
    domain::{Held, ShippedFrame, ShippedHeader},
    store::{StoreError, StoreOptions, TrailError, TrailStore, trail_url},
};

/// A call that takes longer is given up, with its connection: a server may have stopped in its middle.
const CALL_MAX: Duration = Duration::from_secs(5);

/// Where the trail is shipped to, if it is.
pub fn address(config: &Config) -> Option<String> {
    if config.audit.ship == AuditShip::Off {
        return None;
    }
    let typed = config.audit.ship_url.as_ref().map(|url| url.expose().to_owned());
    typed.or_else(|| config.sources.store.as_ref().map(|store| trail_url(store.url.expose())))
}

/// Whether what is shipped outlives the folder of the trail: another machine, or a file on another device.
pub(super) fn is_elsewhere(config: &Config) -> bool {
    let Some(url) = address(config) else { return false };
    let Some(place) = url.strip_prefix("sqlite:") else { return true };
    let place = place.split_once('?').map_or(place, |(path, _)| path);
    let file = Path::new(place.strip_prefix("//").unwrap_or(place));
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_kept = VolumeKind::of(folder).is_ok_and(|kind| !kind.is_ephemeral());
    is_kept && device(folder).is_some_and(|device| existing(&config.audit.dir).is_some_and(|own| own != device))
}

fn device(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|stat| stat.dev())
}

/// The device of a folder that may have to be made yet.
fn existing(dir: &Path) -> Option<u64> {
    dir.ancestors().find_map(device)
}

/// Begins to ship, when everything else is up.
pub(super) fn start(house: &House) -> Result<(), AppError> {
    let Some(url) = address(&house.config) else { return Ok(()) };
    let clock = Arc::clone(&house.clock);
    let trail = Arc::clone(&house.trail);
    house.metrics.watch_shipping(move || {
        let shipping = trail.status().shipping;
        (shipping.shipped, shipping.lag)
    });
    house.trail.ship(move || to_store(url, clock)).map_err(AppError::Ship)
}

/// Ships a trail that no sidecar holds: a command's, that writes into it.
///
/// # Errors
///
/// No thread could be started.
pub fn ship(trail: &Trail, url: String, clock: Arc<dyn Clock>) -> std::io::Result<()> {
    trail.ship(move || to_store(url, clock))
}

/// The store as a sink.
pub(super) fn to_store(url: String, clock: Arc<dyn Clock>) -> Box<dyn Sink> {
    Box::new(ToStore { url, clock, open: None })
}

/// It blocks its thread, the shipper's, on a runtime of its own.
struct ToStore {
    url: String,
    clock: Arc<dyn Clock>,
    open: Option<Open>,
}

struct Open {
    runtime: tokio::runtime::Runtime,
    store: TrailStore,
}

impl Sink for ToStore {
    fn held(&mut self, writer: &str) -> Result<Option<Held>, SinkError> {
        self.call(async |store| store.held(writer).await)
    }

    fn append(
        &mut self,
        writer: &str,
        header: Option<&ShippedHeader>,
        frames: &[ShippedFrame],
    ) -> Result<Held, SinkError> {
        self.call(async |store| store.append(writer, header, frames).await)
    }
}

impl ToStore {
    fn call<T>(&mut self, work: impl AsyncFnOnce(&TrailStore) -> Result<T, TrailError>) -> Result<T, SinkError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.connect()?,
        };
        let done = open.runtime.block_on(within(CALL_MAX, work(&open.store)));
        match done {
            Some(Ok(done)) => {
                self.open = Some(open);
                Ok(done)
            }
            Some(Err(error)) => {
                let error = told(&error);
                if matches!(error, SinkError::Refused(_)) {
                    self.open = Some(open);
                }
                Err(error)
            }
            None => Err(SinkError::Away(format!("{} does not answer in time", open.store.address()))),
        }
    }

    fn connect(&self) -> Result<Open, SinkError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| SinkError::Away(format!("no runtime for the shipper: {error}")))?;
        let options = StoreOptions { statement_timeout: CALL_MAX, create: true, ..StoreOptions::default() };
        let store = runtime.block_on(Box::pin(async {
            let store = TrailStore::open(&self.url, options)?;
            store.prepare(self.clock.now()).await?;
            Ok(store)
        }));
        let store = store.map_err(|error: StoreError| told(&TrailError::Store(error)))?;
        Ok(Open { runtime, store })
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

/// What the shipper makes of it. Its words go to readiness and to the log: they hold no value.
fn told(error: &TrailError) -> SinkError {
    match error {
        TrailError::Gap(why) | TrailError::Fork(why) => SinkError::Refused(why.clone()),
        TrailError::Malformed(_) => SinkError::Refused(error.to_string()),
        TrailError::Store(error) => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            SinkError::Away(format!("{error}{cause}"))
        }
    }
}
