//! Where records are read: in a folder, in the store that trails are shipped to, or in both.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    app::{self, StoreRecords},
    audit::{
        self, EncryptionKeys, Gap, HeldThere,
        query::{FolderRecords, RecordSource},
    },
    cli::{
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
    },
    store::StoreError,
};

/// One look at the store may take so long: a person waits.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// What stands for `--store` without an address.
pub(super) const CONFIGURED: &str = "";

/// Where records are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) folder: Option<PathBuf>,
    pub(super) store: Option<String>,
}

impl Places {
    /// As typed; without any word of it as configured: the folder, and the store where it may be read.
    pub(super) fn of(
        dir: Option<&PathBuf>,
        store: Option<&str>,
        config: &ConfigArgs,
        context: &Context<'_>,
    ) -> Result<Self, Failure> {
        let places = match (dir, store) {
            (Some(dir), None) => Self { folder: Some(dir.clone()), store: None },
            (None, None) => {
                let config = context.offline_config(config)?;
                let store = app::reading_address(&config);
                // On another machine than the sidecar's there may be the store alone.
                let folder = Some(config.audit.dir).filter(|dir| store.is_none() || dir.is_dir());
                Self { folder, store }
            }
            (folder, Some(CONFIGURED)) => {
                let config = context.offline_config(config)?;
                let store = app::reading_address(&config).ok_or_else(|| {
                    Failure::new(Exit::CannotRun, "the configuration names no store that may be read")
                        .next("name one: `--store URL`, or set `audit.read_url`")
                })?;
                Self { folder: folder.cloned(), store: Some(store) }
            }
            (folder, Some(url)) => Self { folder: folder.cloned(), store: Some(url.to_owned()) },
        };
        match &places.folder {
            Some(folder) if !folder.is_dir() => Err(Failure::new(Exit::CannotRun, "there is no trail")
                .at(folder.display().to_string())
                .next("name its folder as DIR, its store by --store URL, or the configuration of both: --config FILE")),
            _ => Ok(places),
        }
    }

    /// The records of these places. Call it inside a runtime.
    pub(super) fn source(&self, keys: EncryptionKeys) -> Result<Arc<dyn RecordSource>, Failure> {
        let opened = |dir| Arc::new(FolderRecords::once(dir).opened_with(keys)) as Arc<dyn RecordSource>;
        let folder = self.folder.as_deref().map(opened);
        let Some(url) = &self.store else {
            return folder.ok_or_else(|| Failure::new(Exit::CannotRun, "neither a folder nor a store is named"));
        };
        let store = StoreRecords::open(url, LOOK_MAX).map_err(|error| unread(&error))?;
        Ok(match folder {
            None => Arc::new(store),
            Some(folder) => Arc::new(store.and(folder)),
        })
    }

    /// The first record since an instant that was in one of these places, is there no more, and is in none of the others.
    pub(super) async fn first_missing(&self, since: Timestamp) -> Result<Option<String>, Failure> {
        let here = match &self.folder {
            None => audit::FolderExtent::default(),
            Some(dir) => audit::extent(dir, since).map_err(|source| {
                Failure::new(Exit::CannotRun, "the trail's folder cannot be read")
                    .at(dir.display().to_string())
                    .because(source.to_string())
            })?,
        };
        let gap = match &self.store {
            None => Gap::between(&here, &HeldThere::default(), since),
            Some(url) => {
                let store = StoreRecords::open(url, LOOK_MAX).map_err(|error| unread(&error))?;
                store.gap(here, since).await.map_err(|error| super::query::unread(&error))?
            }
        };
        Ok(gap.map(|gap| format!("{}/{}", gap.writer, gap.first)))
    }

    /// For messages.
    pub(super) fn named(&self) -> String {
        let folder = self.folder.as_deref().map(Path::display).map(|dir| dir.to_string());
        folder.unwrap_or_else(|| "the store".to_owned())
    }
}

/// What the store had against it.
pub(super) fn unread(error: &StoreError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        StoreError::Refused { .. } => failure
            .next("give the address of a role that may read the trail: `chaperone db install --auditor-role NAME`"),
        _ => failure.next("name the database of the trail: `--store URL`"),
    }
}
