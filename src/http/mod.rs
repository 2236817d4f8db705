//! The HTTP floor: wire formats to domain types and back. No rule lives here, and no decision is made here.
//!
//! [`serve::serve`] drives one listener ([`listen::Door`]) with one of three handlers: [`callers_api::CallersApi`]
//! for the applications that ask, [`admin::AdminApi`] for operators, [`health::HealthApi`] for probes and scrapers.
//! Deliberately absent: TLS, bodies in pieces of anything but exports, a framework between hyper and the handlers (the decision's path is
//! measured in microseconds), and any function that writes a decision from something that is not recorded.

use std::time::Duration;

pub mod admin;
mod administration;
mod answer;
mod authzen;
mod body;
pub mod caller;
pub mod callers_api;
mod changes;
pub mod demo;
pub mod error;
mod grants;
pub mod health;
pub mod hosts;
pub mod json;
mod layers;
pub mod listen;
mod members;
mod openapi;
mod outcome;
mod paths;
mod pulse;
mod question;
pub mod serve;
pub mod trail_api;

pub use self::{
    admin::AdminApi,
    caller::{CallerEntry, Callers, Capability, Token},
    callers_api::{CallersApi, Room},
    health::{ComponentState, HealthApi},
    hosts::Hosts,
    listen::{BindError, Door},
    openapi::text as openapi,
    serve::{House, serve},
    trail_api::TrailApi,
};

/// Everything has a limit. The defaults are promised in the documentation.
#[derive(Clone, Debug)]
pub struct Limits {
    pub body_bytes_max: usize,
    pub batch_bytes_max: usize,
    pub items_max: usize,
    pub json: json::JsonLimits,
    pub batch_nodes_max: usize,
    /// Bytes of an entity's id or type, an action's or a field's name.
    pub id_bytes_max: usize,
    /// Names in `fields` of one question; no pack has so many groups and columns.
    pub fields_max: usize,
    pub headers_bytes_max: usize,
    pub headers_max: usize,
    /// From a connection's opening to its first byte.
    pub first_byte: Duration,
    /// From the first byte of a head to its end.
    pub header: Duration,
    /// From a head to the end of its body.
    pub body: Duration,
    /// Between two requests of one connection.
    pub idle: Duration,
    pub connections_max: usize,
    /// Of them without one complete header.
    pub headless_max: usize,
    /// Streams of one HTTP/2 connection.
    pub streams_max: u32,
    pub http2_keep_alive: Duration,
    pub in_flight_max: usize,
    /// Of them from one caller.
    pub caller_share_max: usize,
    pub queue_wait: Duration,
    pub deadline: Duration,
    /// Items of one batch that are decided at the same time.
    pub batch_width_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 * 1024,
            batch_bytes_max: 1024 * 1024,
            items_max: 1_000,
            json: json::JsonLimits { depth_max: 32, nodes_max: 10_000, string_bytes_max: 4 * 1024 },
            batch_nodes_max: 100_000,
            id_bytes_max: 256,
            fields_max: 256,
            headers_bytes_max: 16 * 1024,
            headers_max: 64,
            first_byte: Duration::from_secs(2),
            header: Duration::from_secs(2),
            body: Duration::from_secs(2),
            idle: Duration::from_secs(60),
            connections_max: 2_048,
            headless_max: 1_024,
            streams_max: 128,
            http2_keep_alive: Duration::from_secs(20),
            in_flight_max: 256,
            caller_share_max: 128,
            queue_wait: Duration::from_millis(50),
            deadline: Duration::from_secs(2),
            batch_width_max: 32,
        }
    }
}
