//! The binary on a store that takes changes: the application asks for grants, and administrators say who they are.

use std::{fs, io, net::TcpStream, sync::Arc};

use chaperone::store::{Part, Sql, Store, StoreOptions};
use serde_json::Value as Json;

use super::sidecar::{Asker, Doors, Sidecar, Told};

const SESSION: &str = "mfa=true, age_seconds=60, idle_seconds=5, tenant=T1";

/// Limits at which a machine that does other work refuses nobody. Whatever is in force at once, no feed has told of it.
const PATIENT: &str = "entities: { staleness_ms: 20000, poll_ms: 10000, hint: false, statement_timeout_ms: 10000 }\n\
                       limits: { queue_wait_ms: 10000, deadline_ms: 30000 }\n";

/// A sidecar that is not started yet, and its store.
pub(crate) async fn prepared(app: &str, store: &str) -> (Sidecar, Arc<Store>) {
    let opened = Store::open(store, StoreOptions::default()).unwrap();
    opened.install(&[Part::Tables], "2026-03-10T15:00:00Z".parse().unwrap()).await.unwrap();
    let sidecar = Sidecar::prepared(app, store);
    let mut text = fs::read_to_string(sidecar.config_file()).unwrap();
    for (from, to) in
        [("name: ehr,", "name: ehr, capabilities: [decide, grant],"), (":8381\",", ":8381\", asserted: true,")]
    {
        assert!(text.contains(from), "{from} is not in {text}");
        text = text.replacen(from, to, 1);
    }
    fs::write(sidecar.config_file(), text + PATIENT).unwrap();
    (sidecar, Arc::new(opened))
}

/// A number that the store says.
pub(crate) async fn number(store: &Store, sql: &'static str) -> usize {
    let mut transaction = store.read().await.unwrap();
    let row = transaction.row(Sql::both(sql), &[]).await.unwrap().unwrap();
    row.int("n").unwrap().unwrap().try_into().unwrap()
}

/// One of T1 at the admin listener, on one connection as long as that lasts.
pub(crate) struct Administrator {
    doors: Doors,
    who: &'static str,
    line: Option<Asker<TcpStream>>,
    calls: usize,
}

impl Administrator {
    pub(crate) fn new(doors: &Doors, who: &'static str) -> Self {
        Self { doors: doors.clone(), who, line: None, calls: 0 }
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Told> {
        self.call(|line, said| line.get_with(path, said))
    }

    /// Changes something, if it is in a state where one is said.
    pub(crate) fn post(&mut self, path: &str, body: &Json, version: Option<&str>) -> io::Result<Told> {
        let expected = version.map(|version| format!("\"{version}\""));
        self.call(|line, said| {
            let mut said = said.to_vec();
            said.extend(expected.as_deref().map(|version| ("if-match", version)));
            line.post_with(path, body, &said)
        })
    }

    fn call(
        &mut self,
        ask: impl FnOnce(&mut Asker<TcpStream>, &[(&str, &str)]) -> io::Result<Told>,
    ) -> io::Result<Told> {
        self.calls += 1;
        let mut line = match self.line.take() {
            Some(line) => line,
            None => Asker::new(TcpStream::connect(&self.doors.admin)?, &self.doors.admin_token),
        };
        let key = format!("{}-{}", self.who, self.calls);
        let said = [("chaperone-principal", self.who), ("chaperone-session", SESSION), ("idempotency-key", &key)];
        let told = ask(&mut line, &said)?;
        self.line = Some(line);
        Ok(told)
    }
}
