//! Why a change was not made. In each case nothing was changed, or it is said so.

use crate::{
    audit::AppendError,
    authorize::AuthorizeError,
    domain::{NotNow, Reason, grant::Illegal, review::Unreviewable},
    store::StoreError,
};

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The policies say no, or the rules of the thing itself do. Recorded.
    #[error("refused: {reason}")]
    Refused { reason: Reason, text: Option<String> },
    /// A request that means nothing here: the member at fault, and what was expected of it.
    #[error("{path} {expected}")]
    Malformed { path: &'static str, expected: String },
    /// Of this tenant, that is: what another one has is not there.
    #[error("there is no such {0}")]
    Unknown(&'static str),
    #[error(transparent)]
    Illegal(#[from] Illegal),
    #[error(transparent)]
    NotNow(#[from] NotNow),
    /// What was asked for is said by another row already.
    #[error("there is the same {what} already")]
    Twin { what: &'static str, id: std::sync::Arc<str> },
    /// Another program keeps these rows, or nothing reads ours.
    #[error("{what} are not kept here: {owner}")]
    Elsewhere { what: &'static str, owner: String },
    #[error(transparent)]
    Unreviewable(#[from] Unreviewable),
    #[error("it was changed since it was read")]
    Changed,
    #[error("the same key came with another request before")]
    KeyUsed,
    #[error("the policies say nothing about `{0}`")]
    NoRules(&'static str),
    #[error("no store is configured (`sources.store`)")]
    NoStore,
    #[error("the store did not take the change")]
    Store(#[source] StoreError),
    /// The commit was cut off: whether the change stands is found out, and the trail told.
    #[error("whether the change was made is not known")]
    Unsettled(#[source] StoreError),
    #[error("the trail could not be read")]
    Trail(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Undecided(#[from] AuthorizeError),
    #[error("the record of the change could not be written")]
    Unrecorded(#[source] AppendError),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl AdminError {
    pub(super) const fn refused(reason: Reason) -> Self {
        Self::Refused { reason, text: None }
    }
}
