//! Who may read the trail: a question to the policies like any other, recorded like any other.

use super::{Actor, Admin, Plea, error::AdminError};

impl Admin {
    /// Asks whether the person may do `action` (`admin:decisions`, `admin:audit`) with the trail of `tenant`.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] to whom the policies do not open it.
    pub async fn ask_to_read(&self, actor: &Actor, action: &str, tenant: &str) -> Result<(), AdminError> {
        self.ask(actor, Plea::on(action, "Tenant", tenant)).await.map(drop)
    }
}
