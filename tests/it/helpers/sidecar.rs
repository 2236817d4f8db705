//! The shipped binary as a process of its own: started, asked, killed, stopped, started again.
//!
//! What is dropped while it runs is stopped in order, and its trail must then verify: a test that leaves a trail behind
//! which does not is a test that fails.

use std::{
    fs::{self, File},
    io::Read,
    net::TcpStream,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use chaperone::audit::{self, Filter, Report, Verdict, VerifyOptions};
use rustix::process::Signal;
use serde_json::{Value as Json, json};

pub(crate) use super::asker::{Asker, Receipt, Told};

/// The longest that anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The token of the one caller that [`Sidecar::serve`] knows.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ADMIN_TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// Waits until `reached` gives something.
pub(crate) fn wait_for<T>(state: &str, mut reached: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(reached) = reached() {
            return reached;
        }
        assert!(Instant::now() < end, "after {DEADLINE:?} it is not so that {state}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The binary, with nothing of this process's environment.
pub(crate) fn chaperone() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    command.env_clear().current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

/// How a run ended that was to end by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Runs `command` to its end, which must come soon.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let read = |from: &mut dyn Read| {
            let mut text = String::new();
            from.read_to_string(&mut text).unwrap();
            text
        };
        let talk = std::thread::spawn(move || read(&mut err));
        let result = std::thread::spawn(move || read(&mut out));
        let status = wait_for_end(&mut child);
        Self { code: status.code(), stdout: result.join().unwrap(), stderr: talk.join().unwrap() }
    }

    /// Holds the end to a code and to what a person must find in the message.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in:\n{}", self.stderr);
        }
        assert_eq!(self.stdout, "", "what went wrong is no result");
    }
}

#[track_caller]
fn wait_for_end(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() >= end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("after {DEADLINE:?} the process still runs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where a running sidecar listens.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    pub(crate) tcp: String,
    pub(crate) admin: String,
    pub(crate) health: String,
    pub(crate) socket: PathBuf,
    pub(crate) token: String,
    pub(crate) admin_token: String,
}

impl Doors {
    pub(crate) fn tcp(&self) -> Asker<TcpStream> {
        self.tcp_if_there().expect("the callers' port answers")
    }

    pub(crate) fn unix(&self) -> Asker<UnixStream> {
        self.unix_if_there().expect("the socket answers")
    }

    /// An error where the process may be gone meanwhile.
    pub(crate) fn tcp_if_there(&self) -> std::io::Result<Asker<TcpStream>> {
        Ok(Asker::new(TcpStream::connect(&self.tcp)?, &self.token))
    }

    pub(crate) fn unix_if_there(&self) -> std::io::Result<Asker<UnixStream>> {
        Ok(Asker::new(UnixStream::connect(&self.socket)?, ""))
    }

    /// The admin API's answer to a GET.
    pub(crate) fn admin(&self, path: &str) -> Json {
        let stream = TcpStream::connect(&self.admin).expect("the admin port answers");
        let answer = Asker::new(stream, &self.admin_token).get(path).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// A probe's or the metrics' answer.
    pub(crate) fn probe(&self, path: &str) -> Told {
        Asker::new(TcpStream::connect(&self.health).expect("the health port answers"), "").get(path).unwrap()
    }
}

/// Ana reads a note of the client she is assigned to: an allow in the demo.
pub(crate) fn ana_reads() -> Json {
    json!({
        "subject": { "type": "User", "id": "ana" },
        "action": { "name": "read", "properties": { "fields": ["clin.note", "id.gov"] } },
        "resource": { "type": "Note", "id": "N1" },
        "context": { "session": { "mfa": true, "idle_seconds": 12, "age_seconds": 900 } },
    })
}

enum Kind {
    Demo,
    /// The loopback address that is this sidecar's own.
    Serve(String),
    /// The same, of `chaperone admin`.
    Admin(String),
}

/// A process of the binary with its folder.
pub(crate) struct Sidecar {
    folder: PathBuf,
    kind: Kind,
    child: Option<Child>,
    _home: Option<tempfile::TempDir>,
}

impl Sidecar {
    /// `chaperone demo` in a folder that goes away with it.
    pub(crate) fn demo() -> Self {
        let home = home();
        let mut sidecar = Self { folder: home.path().to_owned(), kind: Kind::Demo, child: None, _home: Some(home) };
        sidecar.start();
        sidecar
    }

    /// `chaperone serve` on two databases, with the shipped policies.
    pub(crate) fn serve(app: &str, store: &str) -> Self {
        let sidecar = Self::prepared(app, store);
        sidecar.started()
    }

    /// [`Self::serve`], not started: its configuration and folders may still be changed.
    pub(crate) fn prepared(app: &str, store: &str) -> Self {
        let home = home();
        let folder = home.path().to_owned();
        let own = own_address();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for pack in ["policies", "schemas"] {
            super::folder::copy(&root.join(pack), &folder.join(pack));
        }
        let dir = folder.display();
        let uid = rustix::process::getuid().as_raw();
        let config = format!(
            r#"server:
  unix: {{ path: "{dir}/pdp.sock" }}
  tcp: {{ listen: "{own}:8380" }}
  admin: {{ listen: "{own}:8381", token: "{ADMIN_TOKEN}" }}
  health: {{ listen: "{own}:8382" }}
callers:
  - {{ name: ehr, unix: {{ uids: [{uid}] }}, token: "{TOKEN}" }}
policies: {{ dir: "{dir}/policies", schemas: "{dir}/schemas", cache_dir: "{dir}/cache" }}
sources:
  app: {{ url: "{app}" }}
  store: {{ url: "{store}" }}
audit: {{ dir: "{dir}/audit", accept_ephemeral: true }}
"#
        );
        fs::write(folder.join("chaperone.yaml"), config).unwrap();
        Self { folder, kind: Kind::Serve(own), child: None, _home: Some(home) }
    }

    /// The same, whose administrators are said by headers.
    pub(crate) fn asserted(self) -> Self {
        let config = fs::read_to_string(self.config_file()).unwrap();
        fs::write(self.config_file(), config.replace("  admin: {", "  admin: { asserted: true,")).unwrap();
        self
    }

    /// That, as `chaperone admin`.
    pub(crate) fn administering(self) -> Self {
        let mut admin = self.asserted();
        if let Kind::Serve(own) = &admin.kind {
            admin.kind = Kind::Admin(own.clone());
        }
        admin
    }

    pub(crate) fn started(mut self) -> Self {
        self.start();
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.join("chaperone.yaml")
    }

    pub(crate) fn trail(&self) -> PathBuf {
        self.folder.join("audit")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The command that starts this sidecar, or a second one on the same folder.
    pub(crate) fn command(&self) -> Command {
        let mut command = chaperone();
        match &self.kind {
            Kind::Demo => command
                .args(["demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--dir"])
                .arg(&self.folder),
            Kind::Serve(_) => command.args(["serve", "--config"]).arg(self.config_file()),
            Kind::Admin(_) => command.args(["admin", "--config"]).arg(self.config_file()),
        };
        command
    }

    /// Starts it and waits until it answers; ready or not is another question.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let listen = self.folder.join("listen.json");
        if listen.exists() {
            fs::remove_file(&listen).unwrap();
        }
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = self.command();
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().expect("the binary starts");
        let own = match &self.kind {
            Kind::Demo => None,
            Kind::Serve(own) | Kind::Admin(own) => Some(own.clone()),
        };
        wait_for("the sidecar answers", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}:\n{}", self.log());
            match &own {
                None => listen.exists().then_some(()),
                Some(own) => TcpStream::connect(format!("{own}:8382")).is_ok().then_some(()),
            }
        });
        self.child = Some(child);
    }

    /// What the process told on stderr, all runs.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub(crate) fn doors(&self) -> Doors {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap().trim().to_owned();
        match &self.kind {
            Kind::Demo => {
                let listen: Json = serde_json::from_str(&read("listen.json")).unwrap();
                let said = |key: &str| listen[key].as_str().unwrap().to_owned();
                Doors {
                    tcp: said("listen"),
                    admin: said("admin"),
                    health: said("admin"),
                    socket: said("socket").into(),
                    token: read("token"),
                    admin_token: read("admin-token"),
                }
            }
            Kind::Serve(own) | Kind::Admin(own) => Doors {
                tcp: format!("{own}:8380"),
                admin: format!("{own}:8381"),
                health: format!("{own}:8382"),
                socket: self.folder.join("pdp.sock"),
                token: TOKEN.to_owned(),
                admin_token: ADMIN_TOKEN.to_owned(),
            },
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; the process is still there, and may still be answering.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.terminate();
        self.ended()
    }

    /// Waits for the end that something else caused.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        wait_for_end(&mut child).code()
    }

    pub(crate) fn verify(&self) -> Report {
        audit::verify(&self.trail(), &VerifyOptions::default()).unwrap()
    }

    /// The records of the trail, in order.
    pub(crate) fn records(&self) -> Vec<(Receipt, Json)> {
        let trail = self.trail();
        let records = audit::records(&trail, Filter::default()).unwrap();
        let read = records.map(|stored| {
            let stored = stored.unwrap();
            let line: Json = serde_json::from_slice(&stored.line).unwrap();
            let decision_id = line["decision_id"].as_str().unwrap_or_default().to_owned();
            (Receipt { writer: stored.writer.to_string(), seq: stored.seq, decision_id }, line)
        });
        read.collect()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if self.child.is_none() {
            return;
        }
        if std::thread::panicking() {
            self.kill();
            // The folder goes away: what the process had to say stands in the test's output.
            println!("{}", self.log());
            return;
        }
        assert_eq!(self.stop(), Some(0), "{}", self.log());
        let report = self.verify();
        assert_eq!(report.verdict, Verdict::Whole, "{report:?}");
    }
}

/// A short path: a socket's holds 108 bytes.
fn home() -> tempfile::TempDir {
    let home = tempfile::Builder::new().prefix("chp-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    home
}

/// A loopback address that no other process of this machine uses, so that its ports are free: 127/8 is ours alone.
fn own_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let pid = std::process::id();
    format!("127.{}.{}.{}", 64 + (pid >> 8) % 128, pid % 256, NEXT.fetch_add(1, Ordering::Relaxed) % 250 + 1)
}
