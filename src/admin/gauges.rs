//! How many grants run and how many reviews wait too long, for `/metrics`.

use super::{Admin, error::AdminError, reviews};
use crate::store::{Sql, Value};

const ACTIVE: Sql = Sql::both(
    "SELECT count(*) AS active FROM grants WHERE state = 'active' AND activated_at <= $1 AND expires_at > $1",
);

impl Admin {
    /// Looks, and sets the gauges.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: the store cannot be read, and the gauges stay as they were.
    pub async fn measure(&self) -> Result<(), AdminError> {
        let now = self.rooms.clock.now();
        let mut transaction = self.store()?.read().await?;
        let row = transaction.row(ACTIVE, &[Value::from(now)]).await?;
        let active = row.map_or(Ok(None), |row| row.int("active"))?.unwrap_or(0);
        let overdue = reviews::overdue(&mut transaction, now).await?;
        transaction.commit().await?;
        self.rooms.metrics.grants(u64::try_from(active).unwrap_or(0), overdue);
        Ok(())
    }
}
