//! What tests share: databases, raw connections, and a small mapping over the demo world.

pub(crate) mod asker;
pub(crate) mod authorizer;
pub(crate) mod callers;
pub(crate) mod clinic;
pub(crate) mod folder;
pub(crate) mod following;
pub(crate) mod mapping;
pub(crate) mod office;
pub(crate) mod postgres;
pub(crate) mod random;
pub(crate) mod raw;
pub(crate) mod sidecar;
pub(crate) mod sqlite;
pub(crate) mod world;
