//! What a record costs, from the append to the receipt: one caller, and 32 at once.
#![expect(clippy::unwrap_used, reason = "a bench stops where it is wrong")]

use std::{sync::Arc, time::Duration};

use chaperone::{
    audit::{SigningKey, Trail, TrailConfig},
    clock::{Clock, SystemClock},
    domain::{Record, RecordKind, Tier},
};
use divan::{Bencher, counter::ItemsCount};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

struct House {
    runtime: Runtime,
    trail: Arc<Trail>,
    _folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a checkpoint a second, far more than anyone needs.
    fn signed() -> Self {
        Self::with(|config| {
            let file = config.dir.join("trail.key");
            SigningKey::generate("trail.example/bench").unwrap().write_new(&file).unwrap();
            config.checkpoints_dir = Some(config.dir.join("checkpoints"));
            config.checkpoint_after = Duration::from_secs(1);
            config.key_file = Some(file);
        })
    }

    fn with(change: impl FnOnce(&mut TrailConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let mut config = TrailConfig { accept_ephemeral: true, ..TrailConfig::at(folder.path()) };
        change(&mut config);
        let trail = Arc::new(Trail::open(config, Arc::new(SystemClock)).unwrap());
        Self { runtime, trail, _folder: folder }
    }

    /// `callers` appends at once, until each has its receipt.
    fn append(&self, callers: usize, tier: Tier) {
        self.runtime.block_on(async {
            let mut set = tokio::task::JoinSet::new();
            for _ in 0..callers {
                let trail = Arc::clone(&self.trail);
                set.spawn(async move {
                    let record = Record::new(RecordKind::Decision, SystemClock.now());
                    trail.append((), record, tier).await.unwrap();
                });
            }
            while let Some(done) = set.join_next().await {
                done.unwrap();
            }
        });
    }
}

#[divan::bench(args = [1, 32])]
fn record_process(bencher: Bencher, callers: usize) {
    let house = House::new();
    bencher.counter(ItemsCount::new(callers)).bench(|| house.append(callers, Tier::Process));
}

#[divan::bench(args = [1, 32])]
fn record_process_signed(bencher: Bencher, callers: usize) {
    let house = House::signed();
    bencher.counter(ItemsCount::new(callers)).bench(|| house.append(callers, Tier::Process));
}

#[divan::bench(args = [1, 32])]
fn record_disk(bencher: Bencher, callers: usize) {
    let house = House::new();
    bencher.counter(ItemsCount::new(callers)).bench(|| house.append(callers, Tier::Disk));
}
