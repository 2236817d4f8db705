//! Why the process could not start, or had to stop.

use std::path::PathBuf;

use crate::{audit, engine::problem::Problems, entities, http, lifecycle::LifecycleError, store::StoreError};

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the policy bundle is not valid:\n{0}")]
    Bundle(Problems),
    #[error("the database cannot be used")]
    Connect(#[from] entities::ConnectError),
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    #[error("the mapping does not fit the database:\n{}", .0.join("\n"))]
    Mapping(Vec<String>),
    #[error("the audit trail cannot be opened")]
    Trail(#[from] audit::OpenError),
    #[error("the audit trail did not end whole")]
    Close(#[source] audit::CloseError),
    #[error("the audit trail cannot be shipped")]
    Ship(#[source] std::io::Error),
    #[error("what decisions are made of cannot be kept (`audit.capture`)")]
    Capture(#[source] std::io::Error),
    #[error("the audit trail stopped: {0}")]
    TrailStopped(String),
    #[error("cannot listen")]
    Bind(#[from] http::BindError),
    #[error("the callers of the configuration contradict each other")]
    Callers(#[from] http::caller::CallersError),
    #[error("a token is empty or too short")]
    Token,
    #[error("the admin listener shares a token with a caller")]
    SharedToken,
    #[error("cannot watch the policy folders")]
    Watch(#[source] std::io::Error),
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error("cannot write `{path}`")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the webhook of `grants.notify_url` cannot be called")]
    Notify(#[source] reqwest::Error),
    #[error("the demo's database could not be made")]
    DemoDatabase(#[source] sqlx::Error),
    #[error("no randomness for a token")]
    Random(#[source] getrandom::Error),
}
