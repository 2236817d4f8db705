//! Turns: what holds however many administrators are at it.

use super::*;
use crate::store::{Part, Store, StoreOptions};

fn now() -> Timestamp {
    "2026-03-10T15:00:00Z".parse().unwrap()
}

async fn store(folder: &tempfile::TempDir) -> Store {
    let url = format!("sqlite://{}/store.db", folder.path().display());
    let store = Store::open(&url, StoreOptions { create: true, ..StoreOptions::default() }).unwrap();
    store.install(&[Part::Tables], now()).await.unwrap();
    store
}

async fn set(store: &Store, by: &str, user: &str, set: &SetStanding) -> Result<View<Suspension>, AdminError> {
    set_as(store, &format!("{by} {user}"), (by, user), set).await
}

async fn set_as(
    store: &Store,
    id: &str,
    (by, user): (&str, &str),
    set: &SetStanding,
) -> Result<View<Suspension>, AdminError> {
    let id = id.into();
    let setting = Setting { user, id, set, expected: None, elsewhere: None };
    let mut transaction = store.begin().await.unwrap();
    let told = setting.set(&by.into(), &"T1".into(), &mut transaction, now()).await?;
    transaction.commit().await.unwrap();
    Ok(told.answer)
}

const SUSPEND: SetStanding = SetStanding::Suspend { from: None, to: None, reason: None };
const REINSTATE: SetStanding = SetStanding::Reinstate { reason: None };

fn refused(done: Result<View<Suspension>, AdminError>) -> String {
    match done.unwrap_err() {
        AdminError::Refused { reason, .. } => reason.as_str().to_owned(),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn of_two_who_suspend_each_other_one_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    assert_eq!(&*set(&store, "sid", "ada", &SUSPEND).await.unwrap().state, "suspended");
    assert_eq!(refused(set(&store, "ada", "sid", &SUSPEND).await), "user_disabled");
    assert_eq!(refused(set(&store, "ada", "ada", &REINSTATE).await), "self_grant");
    assert_eq!(refused(set(&store, "sid", "sid", &SUSPEND).await), "self_grant");
    assert!(refused(set(&store, "sid", "ada", &SUSPEND).await).contains("reinstate them first"));
    assert_eq!(&*set(&store, "sid", "ada", &REINSTATE).await.unwrap().state, "ended");
    assert!(refused(set(&store, "sid", "ada", &REINSTATE).await).contains("not suspended here"));
    // Nor may who is about to be suspended: at that instant nobody would be left.
    let later = SetStanding::Suspend { from: "2026-03-10T16:00:00Z".parse().ok(), to: None, reason: None };
    let again = set_as(&store, "later", ("sid", "ada"), &later).await.unwrap();
    assert_eq!(&*again.state, "not_started");
    assert_eq!(refused(set(&store, "ada", "sid", &later).await), "user_disabled");
}
