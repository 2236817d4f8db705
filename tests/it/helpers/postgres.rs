//! A real PostgreSQL on a private Unix socket in a temporary folder.
//!
//! [`Postgres::shared`] serves the whole test binary, one database a test; a test that kills or stops its server
//! starts one of its own. A guardian process ends each server and removes its folder when the test binary is gone,
//! however that happened.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Ends the server of folder `$1` once stdin closes, which it does when the test binary ends.
const GUARDIAN: &str = r#"
trap '' INT TERM HUP
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    kill -CONT "$pid" 2>/dev/null
    kill -QUIT "$pid" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null
fi
rm -rf "$1"
"#;

const SUPERUSER: &str = "chaperone_test";

pub(crate) struct Postgres {
    folder: PathBuf,
    server: Mutex<Option<Child>>,
    databases: AtomicU32,
    /// Held open: the guardian acts when it closes.
    _guardian: ChildStdin,
}

impl Postgres {
    /// The server of this test binary, with the demo world in the templates of [`Self::demo`].
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of its own, for tests that kill it.
    pub(crate) fn start() -> Self {
        let postgres = Self::nowhere();
        run(as_postgres(&program("initdb")).arg("-D").arg(postgres.folder.join("data")).args([
            "-U",
            SUPERUSER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]));
        postgres.restart();
        for side in ["app", "store"] {
            postgres.psql("postgres", &["-c", &format!("CREATE DATABASE demo_{side}")]);
            for part in ["schema", "fixtures"] {
                let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/demo/{side}.{part}.sql"));
                postgres.psql(&format!("demo_{side}"), &["-f", file.to_str().unwrap()]);
            }
        }
        postgres
    }

    /// Another server that follows this one and takes over when it is told to.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self::nowhere();
        let mut copy = as_postgres(&program("pg_basebackup"));
        copy.arg("-h").arg(&self.folder).args(["-U", SUPERUSER, "-R", "-c", "fast", "-D"]);
        run(copy.arg(standby.folder.join("data")));
        standby.restart();
        standby
    }

    /// Makes a standby the primary, and waits until it is.
    pub(crate) fn promote(&self) {
        self.psql("postgres", &["-o", "/dev/null", "-c", "SELECT pg_promote()"]);
    }

    /// A folder for a server, with its guardian.
    fn nowhere() -> Self {
        let folder = tempfile::Builder::new().prefix("chaperone-pg-").tempdir().expect("a temporary folder").keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(&folder));
        }
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts")
            .stdin
            .expect("a pipe");
        Self { folder, server: Mutex::new(None), databases: AtomicU32::new(0), _guardian: guardian }
    }

    /// Where its socket is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new pair of databases with the demo world: the urls of `app` and `store`.
    pub(crate) fn demo(&self) -> (String, String) {
        (self.create_from("demo_app"), self.create_from("demo_store"))
    }

    fn create_from(&self, template: &str) -> String {
        let name = format!("{template}_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &["-c", &format!("CREATE DATABASE {name} TEMPLATE {template}")]);
        self.url(&name)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@localhost/{database}?host={}", self.folder.display())
    }

    /// Starts the server again after [`Self::stop`] or [`Self::kill`], and waits until it answers.
    pub(crate) fn restart(&self) {
        let mut server = self.server.lock().unwrap();
        assert!(server.is_none(), "the server runs");
        let mut command = as_postgres(&program("postgres"));
        command.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        command.args(["-c", "listen_addresses=", "-c", "max_connections=200", "-c", "log_min_messages=fatal"]);
        let log = fs::File::options().create(true).append(true).open(self.folder.join("server.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        *server = Some(command.spawn().expect("postgres starts"));
        drop(server);
        self.wait_until("the server answers", || {
            let psql = program("psql");
            let mut ask = Command::new(psql);
            ask.arg("-h").arg(&self.folder).args(["-U", SUPERUSER, "-d", "postgres", "-qAtc", "SELECT 1"]);
            ask.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        });
    }

    /// Asks the server to stop at once and in order.
    pub(crate) fn stop(&self) {
        self.signal("INT");
        self.reap();
    }

    /// Takes the server away without a word, and waits until its backends have noticed.
    pub(crate) fn kill(&self) {
        self.signal("KILL");
        self.reap();
        let socket = self.folder.join(".s.PGSQL.5432");
        self.wait_until("nobody listens", || {
            UnixStream::connect(&socket)
                .is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound))
        });
    }

    /// Freezes the server and its backends: connections stay open and nothing answers.
    pub(crate) fn pause(&self) {
        self.signal_all("-STOP");
    }

    /// Lets a frozen server go on.
    pub(crate) fn resume(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, signal: &str) {
        for pid in self.family() {
            let sent = Command::new("kill").args([signal, &pid]).stderr(Stdio::null()).status().unwrap();
            // A backend may have ended meanwhile.
            assert!(sent.success() || !Path::new("/proc").join(&pid).exists(), "{pid} does not take {signal}");
        }
    }

    /// Makes the server a standby at its next start, or a primary again.
    pub(crate) fn set_standby(&self, is_standby: bool) {
        let signal = self.folder.join("data/standby.signal");
        if is_standby {
            run(as_postgres(Path::new("touch")).arg(&signal));
        } else {
            fs::remove_file(signal).unwrap();
        }
    }

    /// A session that runs `sql` and then stays open, holding its locks, until it is dropped.
    pub(crate) fn hold(&self, database: &str, sql: &str) -> Held {
        use std::io::{BufRead, BufReader, Write};
        let mut child = self
            .client(database)
            .arg("-qAt")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql starts");
        writeln!(child.stdin.as_mut().unwrap(), "BEGIN; {sql}; SELECT 'held';").unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "held"), "the session came as far as its last statement");
        Held(child)
    }

    pub(crate) fn psql(&self, database: &str, args: &[&str]) {
        run(self.client(database).arg("-q").args(args));
    }

    fn client(&self, database: &str) -> Command {
        let mut client = Command::new(program("psql"));
        client.arg("-X").arg("-h").arg(&self.folder).args(["-U", SUPERUSER, "-d", database, "-v", "ON_ERROR_STOP=1"]);
        client
    }

    fn signal(&self, signal: &str) {
        let pid = self.server.lock().unwrap().as_ref().expect("the server runs").id().to_string();
        run(Command::new("kill").args([&format!("-{signal}"), &pid]));
    }

    fn reap(&self) {
        let mut server = self.server.lock().unwrap().take().expect("the server runs");
        server.wait().unwrap();
    }

    /// The server's process and those it started.
    fn family(&self) -> Vec<String> {
        let pid = self.server.lock().unwrap().as_ref().expect("the server runs").id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        std::iter::once(pid.to_string()).chain(children.split_whitespace().map(str::to_owned)).collect()
    }

    fn wait_until(&self, state: &str, is_reached: impl Fn() -> bool) {
        for _ in 0..600 {
            if is_reached() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
        panic!("after 30 s it is not so that {state}\n{log}");
    }
}

/// An open session of psql.
pub(crate) struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("psql ends");
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// initdb and postgres refuse root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program).current_dir("/");
    command
}

/// A program of PostgreSQL: beside the newest server that Debian installed, or on the PATH.
fn program(name: &str) -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name))))
        .filter(|(_, path)| path.exists())
        .collect();
    versions.sort();
    let on_path =
        || Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok().then(|| PathBuf::from(name));
    versions.pop().map(|(_, path)| path).or_else(on_path).unwrap_or_else(|| {
        panic!("these tests need a real PostgreSQL and `{name}` is not installed: apt-get install postgresql, or run scripts/test, which does")
    })
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}
