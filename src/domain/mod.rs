//! The field's words and the shapes that rooms exchange.
//!
//! Nothing here performs I/O, awaits, or reads a clock. Cedar's value types are allowed, its evaluator is not:
//! that is the work of `engine`. A room that needs a word of another room finds it here or not at all.

pub mod assignment;
pub mod consent;
pub mod evaluation;
pub mod grant;
mod local;
pub mod mapping;
mod not_now;
pub mod outcome;
pub mod plan;
pub mod projection;
pub mod reason;
pub mod record;
pub mod request;
pub mod restriction;
pub mod review;
mod shape;
pub mod shipped;
pub mod slice;
pub mod suspension;
mod tenancy;
pub mod ticket;
pub mod tier;
pub mod value;
mod window;

pub use evaluation::{Decision, Evaluation, Evidence, Fields, Obligation, PolicyEffect, PolicyRef, Remedy};
pub use local::{next_midnight, zone_named};
pub use not_now::NotNow;
pub use outcome::{Disclosure, Outcome, OutcomeKind};
pub use plan::{EntityPlan, SlicePlan};
pub use reason::Reason;
pub use record::{Record, RecordKind};
pub use request::{Api, CallerName, EntityRef, Mode, Request};
pub use shipped::{Held, IndexRow, PrunedRange, ShippedFrame, ShippedHeader, ShippedNote, ShippedPredecessor};
pub use slice::{Entities, FactEntity, Freshness, Loaded, Memory, MemoryKey, Row, Skew, Slice, Thing};
pub use tier::{Receipt, Tier};
pub use value::{Cell, Value};

/// An instant of the wall clock, in UTC.
pub use jiff::Timestamp;
