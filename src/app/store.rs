//! The store room: opened for writing, and its tables watched until they are what this program needs.

use std::{sync::Arc, time::Duration};

use super::{AppError, House};
use crate::{
    config::Config,
    store::{Part, Store, StoreError, StoreOptions},
};

/// How often a store that is away, or lacks a migration, is asked again.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The configured store; it is connected at its first use.
pub(super) fn open(config: &Config) -> Result<Option<Arc<Store>>, AppError> {
    let open = |url| Store::open(url, StoreOptions::default());
    Ok(config.sources.store.as_ref().map(|store| open(store.url.expose())).transpose()?.map(Arc::new))
}

/// Says what is missing until nothing is. Nothing is made here: that is `chaperone db install`'s, with another role.
pub(super) fn watch(house: &Arc<House>) {
    let Some(store) = house.store.clone() else { return };
    let readiness = house.lifecycle.readiness.clone();
    let stopping = house.lifecycle.stages().stopping.clone();
    house.lifecycle.watch("store check", async move {
        loop {
            let checked = tokio::select! {
                checked = store.check(&[Part::Tables]) => checked,
                () = stopping.cancelled() => return Ok::<(), AppError>(()),
            };
            match checked {
                Ok(()) => {
                    readiness.ready("store", "the tables are up to date");
                    stopping.cancelled().await;
                }
                Err(error @ StoreError::Away { .. }) => readiness.degraded("store", error.to_string()),
                Err(error) => {
                    tracing::warn!(%error, "grants and administration wait for the store's tables");
                    readiness.degraded("store", error.to_string());
                }
            }
            tokio::select! {
                () = tokio::time::sleep(CHECK_EVERY) => {}
                () = stopping.cancelled() => return Ok(()),
            }
        }
    });
}
