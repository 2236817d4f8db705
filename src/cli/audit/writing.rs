//! The commands that write into the trail: they take the folder as a sidecar would, so that none may be running there.

use std::{path::PathBuf, sync::Arc};

use super::encryption::EncryptionArgs;
use crate::{
    app,
    audit::{
        EncryptionKeys, KeyError, OpenError, SigningKey, Trail, TrailConfig, VerifierKey, VerifyOptions,
        retention::Retention,
    },
    cli::{
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
    },
    clock::{Clock, SystemClock},
    domain::Timestamp,
};

/// The configured trail.
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) keys: EncryptionKeys,
    pub(super) retention: Retention,
    /// A store has its records too: where it is shipped to.
    pub(super) shipped_to: Option<String>,
    /// Where what was shipped can be read.
    pub(super) read_at: Option<String>,
    config: TrailConfig,
    clock: Arc<dyn Clock>,
    /// Whether what is written is encrypted with the key that the sidecar encrypts with.
    is_its_key: bool,
}

impl Place {
    pub(super) fn find(
        config: &ConfigArgs,
        encryption: &EncryptionArgs,
        context: &Context<'_>,
    ) -> Result<Self, Failure> {
        let configured = context.offline_config(config)?.audit.encryption_key_file;
        let config = context.offline_config(&encryption.over(config))?;
        let dir = config.audit.dir.clone();
        if !dir.is_dir() {
            return Err(Failure::new(Exit::CannotRun, "there is no trail")
                .at(dir.display().to_string())
                .next("give the configuration whose `audit.dir` is the trail's folder: --config FILE"));
        }
        let read = |path: &Option<PathBuf>| match path {
            Some(path) => EncryptionKeys::read(path).map_err(|error| Failure::of(Exit::CannotRun, &error)),
            None => Ok(EncryptionKeys::default()),
        };
        let keys = read(&config.audit.encryption_key_file)?;
        // A configured file that is away cannot be compared with: then records can be read here, and nothing is written.
        let is_its_key = configured == config.audit.encryption_key_file
            || read(&configured)
                .is_ok_and(|its| its.ids().first().is_some_and(|first| keys.ids().first() == Some(first)));
        let (shipped_to, read_at) = (app::shipping_address(&config), app::shipped_address(&config));
        let trail = TrailConfig { keep_local: None, ..app::trail_config(&config) };
        let (retention, clock) = (app::retention(&config), Arc::new(SystemClock));
        Ok(Self { dir, keys, retention, shipped_to, read_at, config: trail, clock, is_its_key })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the trail is held against before anything of it goes: the configured key, those that signed `before` it, and
    /// the checkpoints outside.
    pub(super) fn witnesses(&self, before: Vec<VerifierKey>) -> Result<VerifyOptions, Failure> {
        let mut keys = before;
        if let Some(path) = &self.config.key_file {
            keys.push(SigningKey::read(path).map_err(|error| unloaded(&error))?.verifier());
        }
        let checkpoints = self.config.checkpoints_dir.clone();
        Ok(VerifyOptions { keys, checkpoints, encryption: self.keys.clone(), ..VerifyOptions::default() })
    }

    /// Takes the folder and begins a writer. What is written there is shipped by the sidecar's next start.
    pub(super) fn open(&self) -> Result<Trail, Failure> {
        self.opened(TrailConfig { ships: false, ..self.config.clone() })
    }

    /// The same, and ships it at once. Call it inside a runtime.
    pub(super) fn open_shipping(&self) -> Result<Trail, Failure> {
        let Some(url) = self.shipped_to.clone() else {
            return Err(Failure::new(Exit::CannotRun, "the trail is not shipped")
                .next("what is done to a store is recorded in the trail that it holds: set `audit.ship`"));
        };
        let trail = self.opened(self.config.clone())?;
        app::ship(&trail, url, Arc::clone(&self.clock)).map_err(|error| Failure::of(Exit::CannotRun, &error))?;
        Ok(trail)
    }

    fn opened(&self, config: TrailConfig) -> Result<Trail, Failure> {
        if !self.is_its_key {
            // The sidecar could not open what is written here.
            let what =
                "the keys of --encryption-key open records; what is written is encrypted with the configured key";
            return Err(Failure::new(Exit::CannotRun, what)
                .next("name in `audit.encryption_key_file` the file that the sidecar encrypts with"));
        }
        Trail::open(config, Arc::clone(&self.clock)).map_err(|error| {
            let failure = Failure::of(Exit::CannotRun, &error);
            match error {
                OpenError::Locked { .. } => {
                    failure.next("stop the sidecar that writes there, and start it again afterwards")
                }
                OpenError::Damaged { .. }
                | OpenError::EncryptionKeys(_)
                | OpenError::Ephemeral { .. }
                | OpenError::Header(_)
                | OpenError::Io { .. }
                | OpenError::SegmentBytes { .. } => failure,
            }
        })
    }
}

fn unloaded(error: &KeyError) -> Failure {
    Failure::of(Exit::CannotRun, error)
        .at("audit.key_file")
        .next("let this person read the key: nothing is pruned unless it vouches for the trail, and signs what stays")
}
