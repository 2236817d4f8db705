//! Assignments, restrictions, consents and tickets on both databases: made, in force at once, ended, told of.

mod assignments;
mod people;

use chaperone::admin::Once;

/// A key that no other call of a test has.
fn once() -> Once {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let key = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    Once { actor: "person sid".to_owned(), key, digest: "d".to_owned() }
}
