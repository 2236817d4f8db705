//! A real authorizer in this process: the shipped policies, the demo world on SQLite, a trail in a temporary folder.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use chaperone::{
    audit::{Trail, TrailConfig},
    authorize::{Authorizer, Settings},
    clock::{Clock, FrozenClock},
    domain::Tier,
    engine::{Bundle, live::Live, load::BundlePaths},
    entities::{Facts, FactsOptions},
    telemetry::Metrics,
};

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
    pub(crate) facts: Arc<Facts>,
    trail: tempfile::TempDir,
    _world: World,
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
        let trail = tempfile::tempdir().unwrap();
        let config = TrailConfig { accept_ephemeral: true, ..TrailConfig::at(trail.path().join("audit")) };
        let facts = Arc::new(Facts::connect(options(&world), Arc::clone(&clock)).unwrap());
        let authorizer = Arc::new(Authorizer::new(
            shipped(),
            Arc::clone(&facts),
            Arc::new(Trail::open(config, Arc::clone(&clock)).unwrap()),
            clock,
            Metrics::local().unwrap(),
            Settings { durability: Tier::Process, durability_of_changes: Tier::Disk },
        ));
        Self { authorizer, facts, trail, _world: world }
    }

    pub(crate) fn trail(&self) -> PathBuf {
        self.trail.path().join("audit")
    }
}
