//! A commit of this process's own: in force for its next decision, without waiting for a feed.

use super::{facts::Facts, source::Way};
use crate::domain::mapping::Source;

impl Facts {
    /// Forgets what is kept of `source`: rows of it were committed by this process before the call. Changes of
    /// administration are few, and a fact that is read once more costs less than knowing which ones they touch.
    pub fn committed(&self, source: Source) {
        match self.origin(source).map(|origin| (&origin.way, &origin.validity)) {
            Some((Way::Postgres { .. }, validity)) => validity.forget(),
            // Each decision looks at the file itself.
            Some((Way::Sqlite { .. }, _)) | None => {}
        }
    }
}
