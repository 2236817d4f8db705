//! A real authorizer in this process: the shipped policies, the demo world on SQLite, a trail in a temporary folder.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use chaperone::{
    admin::{Admin, Rooms},
    audit::{
        Trail, TrailConfig,
        query::{CursorKey, FolderRecords},
    },
    authorize::{Authorizer, Settings},
    clock::{Clock, FrozenClock},
    domain::{Tier, grant::GrantLimits},
    engine::{Bundle, live::Live, load::BundlePaths},
    entities::{Facts, FactsOptions},
    http::TrailApi,
    store::Store,
    telemetry::Metrics,
};
use tokio_util::task::TaskTracker;

use super::world::World;

/// The instant of the demo world.
pub(crate) const NOW: &str = "2026-03-10T15:00:00Z";

/// The shipped policies and schemas.
pub(crate) fn shipped() -> Arc<Live> {
    static SHIPPED: OnceLock<Arc<Live>> = OnceLock::new();
    let load = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let paths = BundlePaths { policies: root.join("policies"), schemas: root.join("schemas"), cache: None };
        let (bundle, _) = Bundle::load(&paths).unwrap_or_else(|problems| panic!("{problems}"));
        Arc::new(Live::new(bundle))
    };
    Arc::clone(SHIPPED.get_or_init(load))
}

/// An authorizer with what it stands on; the folders go away with it.
pub(crate) struct Authorizing {
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) world: World,
    trail: Arc<Trail>,
    pub(crate) facts: Arc<Facts>,
    clock: Arc<dyn Clock>,
    folder: tempfile::TempDir,
}

impl Authorizing {
    pub(crate) async fn on(world: World) -> Self {
        // A slow machine makes no allow late.
        let options = |world: &World| FactsOptions { staleness: Duration::from_secs(20), ..world.options() };
        Self::with(world, options, Arc::new(FrozenClock::at(NOW.parse().unwrap()))).await
    }

    #[expect(clippy::unused_async, reason = "pools and probes want a runtime around them")]
    pub(crate) async fn with(
        world: World,
        options: impl FnOnce(&World) -> FactsOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let facts = Arc::new(Facts::connect(options(&world), Arc::clone(&clock)).unwrap());
        let trail = opened(&folder.path().join("audit"), &clock);
        let authorizer = Arc::new(Authorizer::new(
            shipped(),
            Arc::clone(&facts),
            Arc::clone(&trail),
            Arc::clone(&clock),
            Metrics::local().unwrap(),
            Settings { durability: Tier::Process, durability_of_changes: Tier::Disk },
        ));
        Self { authorizer, world, trail, facts, clock, folder }
    }

    pub(crate) fn trail(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    /// What reads the trail over a listener.
    pub(crate) fn trail_api(&self) -> TrailApi {
        let source = FolderRecords::lasting(&self.trail(), Arc::clone(&self.clock), Duration::from_secs(10));
        let (trail, clock) = (Arc::clone(&self.trail), Arc::clone(&self.clock));
        TrailApi::new(Arc::new(source), trail, clock, TaskTracker::new(), CursorKey::new([7; 32]))
    }

    /// Seals the trail: another one may take the folder.
    pub(crate) async fn close(&self) {
        self.trail.close().await.unwrap();
    }

    pub(crate) const fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    /// What makes changes, on `store`.
    pub(crate) fn admin(&self, store: Option<Arc<Store>>) -> Arc<Admin> {
        self.admin_on(store, Arc::clone(&self.trail))
    }

    /// The same with another trail.
    pub(crate) fn admin_on(&self, store: Option<Arc<Store>>, trail: Arc<Trail>) -> Arc<Admin> {
        Arc::new(Admin::new(Rooms {
            authorizer: Arc::clone(&self.authorizer),
            live: shipped(),
            facts: Arc::clone(&self.facts),
            trail,
            store,
            clock: Arc::clone(&self.clock),
            metrics: Metrics::local().unwrap(),
            limits: GrantLimits { default_seconds: 3_600, most_seconds: 14_400, extensions_max: 1 },
        }))
    }
}

/// A trail in a folder, whatever volume that is on.
pub(crate) fn opened(dir: &Path, clock: &Arc<dyn Clock>) -> Arc<Trail> {
    let config = TrailConfig { accept_ephemeral: true, ..TrailConfig::at(dir) };
    Arc::new(Trail::open(config, Arc::clone(clock)).unwrap())
}
