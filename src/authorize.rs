//! The use case: authorize one request. The only place that joins engine, entities and audit.

use crate::{
    audit::Recorded,
    domain::{Evaluation, Request},
};

/// Why there is no answer. A deny is not an error: it is an [`Evaluation`].
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    #[error("no policy bundle was ever loaded")]
    NoBundle,
    #[error("the record of the decision could not be written")]
    Unrecorded(#[source] crate::audit::AppendError),
}

/// Authorizes requests; one for the whole process, shared.
#[derive(Debug)]
pub struct Authorizer {}

impl Authorizer {
    /// Decides `request`, records the decision and only then returns it.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError`] if nobody decided or the record could not be written; the caller of the API gets a 503.
    pub async fn authorize(&self, request: Request) -> Result<Recorded<Evaluation>, AuthorizeError> {
        drop(request);
        Err(AuthorizeError::NoBundle)
    }
}
