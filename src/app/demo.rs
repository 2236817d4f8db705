//! The demo: a whole clinic in one folder, with a clock that stands still.
//!
//! The folder is made once and kept: databases, tokens and edited policies of an earlier run are used again, so that
//! starting after a kill goes on where it stopped. What a second process would break is guarded by the trail's lock.

use std::{
    fs, io,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use rust_embed::RustEmbed;
use serde_json::json;
use sqlx::{
    ConnectOptions, Connection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{AppError, Listening};
use crate::{
    audit::Trail,
    clock::{Clock as _, SystemClock},
    store::{Part, Store, StoreOptions},
};

/// The shipped policies and schemas, so that the demo needs nothing beside the binary.
#[derive(RustEmbed)]
#[folder = "policies/"]
struct Policies;

#[derive(RustEmbed)]
#[folder = "schemas/"]
struct Schemas;

const APP: [&str; 2] =
    [include_str!("../../schemas/demo/app.schema.sql"), include_str!("../../schemas/demo/app.fixtures.sql")];
const STORE: [&str; 2] =
    [include_str!("../../schemas/demo/store.schema.sql"), include_str!("../../schemas/demo/store.fixtures.sql")];

/// The folder of one demo.
#[derive(Clone, Debug)]
pub struct DemoFolder(PathBuf);

impl DemoFolder {
    /// A fresh folder for temporary files.
    ///
    /// # Errors
    ///
    /// [`AppError::Write`] if none can be made.
    pub fn temporary() -> Result<Self, AppError> {
        let mut bytes = [0_u8; 4];
        getrandom::fill(&mut bytes).map_err(AppError::Random)?;
        Self::at(&std::env::temp_dir().join(format!("chaperone-{}", hex(&bytes))))
    }

    /// The folder `path`, made if it is not there.
    ///
    /// # Errors
    ///
    /// [`AppError::Write`] if it cannot be made or read.
    pub fn at(path: &Path) -> Result<Self, AppError> {
        let write = |source| AppError::Write { path: path.to_path_buf(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(write)?;
        path.canonicalize().map(Self).map_err(write)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn config_file(&self) -> PathBuf {
        self.0.join("chaperone.yaml")
    }

    /// Makes what is missing: databases, policies and schemas to edit, tokens, and the configuration that ties them.
    ///
    /// # Errors
    ///
    /// [`AppError`] names the file that could not be made.
    pub async fn furnish(&self, listen: SocketAddr, admin: SocketAddr) -> Result<(), AppError> {
        // Another demo that runs here is not to find its configuration changed.
        Trail::ensure_free(&self.0.join("audit"))?;
        self.databases().await?;
        self.copy::<Policies>("policies")?;
        self.copy::<Schemas>("schemas")?;
        self.token("token")?;
        self.token("admin-token")?;
        self.write("chaperone.yaml", self.configuration(listen, admin).as_bytes(), 0o600)
    }

    /// Makes the two databases, where they are missing: the clinic as policies are tested against it, with every table that
    /// a mapping may read.
    ///
    /// # Errors
    ///
    /// [`AppError`] names the file that could not be made.
    pub async fn databases(&self) -> Result<(), AppError> {
        self.database("app.db", APP).await?;
        self.database("store.db", STORE).await?;
        self.migrate().await
    }

    /// Brings the store's tables up to date: an earlier run may have been an older program's.
    async fn migrate(&self) -> Result<(), AppError> {
        let store = Store::open(&format!("sqlite://{}", self.0.join("store.db").display()), StoreOptions::default())?;
        store.install(&[Part::Tables], SystemClock.now()).await?;
        store.close().await;
        Ok(())
    }

    /// Says where the process listens, for programs that start it on port 0.
    ///
    /// # Errors
    ///
    /// [`AppError::Write`] if `listen.json` cannot be written.
    pub fn say_listening(&self, listening: &Listening) -> Result<(), AppError> {
        let address = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        let socket = listening.unix.as_ref().map(|path| path.display().to_string());
        let words = json!({ "listen": address(listening.tcp), "admin": address(listening.admin), "socket": socket });
        self.write("listen.json", format!("{words}\n").as_bytes(), 0o600)
    }

    async fn database(&self, name: &str, scripts: [&'static str; 2]) -> Result<(), AppError> {
        let path = self.0.join(name);
        if path.exists() {
            return Ok(());
        }
        // Made beside and renamed into place: a start that was killed half way leaves no half database.
        let making = self.0.join(format!("{name}.making"));
        for suffix in ["", "-wal", "-shm"] {
            match fs::remove_file(self.0.join(format!("{name}.making{suffix}"))) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(AppError::Write { path: making, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        let url = format!("sqlite://{}", making.display());
        let options = SqliteConnectOptions::from_str(&url).map_err(AppError::DemoDatabase)?;
        let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let mut connection = options.connect().await.map_err(AppError::DemoDatabase)?;
        for script in scripts {
            sqlx::raw_sql(script).execute(&mut connection).await.map_err(AppError::DemoDatabase)?;
        }
        connection.close().await.map_err(AppError::DemoDatabase)?;
        rename(&making, &path)
    }

    fn copy<T: RustEmbed>(&self, folder: &str) -> Result<(), AppError> {
        let root = self.0.join(folder);
        if root.exists() {
            return Ok(());
        }
        let making = self.0.join(format!("{folder}.making"));
        match fs::remove_dir_all(&making) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(AppError::Write { path: making, source });
            }
            Ok(()) | Err(_) => {}
        }
        for name in T::iter().filter(|name| !name.starts_with("demo/")) {
            let Some(file) = T::get(&name) else { continue };
            let path = making.join(&*name);
            if let Some(parent) = path.parent() {
                let write = |source| AppError::Write { path: parent.to_path_buf(), source };
                fs::create_dir_all(parent).map_err(write)?;
            }
            write_file(&path, &file.data, 0o644)?;
        }
        rename(&making, &root)
    }

    fn token(&self, name: &str) -> Result<(), AppError> {
        if self.0.join(name).exists() {
            return Ok(());
        }
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(AppError::Random)?;
        self.write(name, format!("{}\n", hex(&bytes)).as_bytes(), 0o600)
    }

    fn configuration(&self, listen: SocketAddr, admin: SocketAddr) -> String {
        let dir = self.0.display();
        let uid = rustix::process::getuid().as_raw();
        format!(
            r#"# The configuration of this demo; `chaperone serve` reads the same format.
server:
  unix: {{ path: "{dir}/pdp.sock" }}
  tcp: {{ listen: "{listen}" }}
  admin: {{ listen: "{admin}", token_file: "{dir}/admin-token", asserted: true }}
  health: off
callers:
  - name: demo
    unix: {{ uids: [{uid}] }}
    token_file: "{dir}/token"
    capabilities: [decide, explain, grant]
policies: {{ dir: "{dir}/policies", schemas: "{dir}/schemas", cache_dir: "{dir}/cache" }}
sources:
  app: {{ url: "sqlite://{dir}/app.db" }}
  store: {{ url: "sqlite://{dir}/store.db" }}
audit: {{ dir: "{dir}/audit", accept_ephemeral: true, ship: store, capture: slices }}
"#
        )
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), AppError> {
        let making = self.0.join(format!("{name}.making"));
        write_file(&making, bytes, mode)?;
        rename(&making, &self.0.join(name))
    }
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AppError> {
    let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    written
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|source| AppError::Write { path: path.to_path_buf(), source })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a demo's folder is made again when it is lost; nothing here is evidence"
)]
fn rename(from: &Path, to: &Path) -> Result<(), AppError> {
    fs::rename(from, to).map_err(|source| AppError::Write { path: to.to_path_buf(), source })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
