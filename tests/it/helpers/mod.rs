//! What tests share: databases, and a small mapping over the demo world.

pub(crate) mod mapping;
pub(crate) mod postgres;
pub(crate) mod sqlite;
pub(crate) mod world;
