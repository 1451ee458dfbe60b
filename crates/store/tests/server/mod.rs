//! A PostgreSQL server of a test's own: a fresh cluster in a temporary directory, killed and removed at the end.
#![allow(dead_code, reason = "not every test uses everything")]
#![allow(clippy::disallowed_methods, reason = "tests wait for a server")]

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where Debian puts version 15.
const BINARIES: &str = "/usr/lib/postgresql/15/bin";
/// The user whom servers run as if the test runs as root, which they refuse.
const SERVER_USER: &str = "postgres";
const START_TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const PASSWORD: &str = "not-to-be-shown";

/// A cluster with a user `pelago`, who has a password, and its empty database `world`. Its order of texts is that of
/// a language, as nobody should rely on.
pub(crate) struct Server {
    directory: tempfile::TempDir,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With settings `name=value`.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            run(Command::new("chown").arg(SERVER_USER).arg(directory.path()));
        }
        run(Command::new("cp").arg("-a").arg(template()).arg(directory.path().join("data")));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { directory, port, settings, process: None };
        server.go_on();
        server
    }

    /// The address of the database `world`, over TCP.
    pub(crate) fn address(&self) -> String {
        format!("postgres://pelago:{PASSWORD}@127.0.0.1:{}/world", self.port)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> std::net::SocketAddr {
        std::net::SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Puts a file beside the data that only the server's user may read.
    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        run(Command::new("chmod").arg("600").arg(&path));
        if is_root() {
            run(Command::new("chown").arg(SERVER_USER).arg(&path));
        }
        path
    }

    /// What the database says to its administrator.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|said| panic!("{sql}: {said}"))
    }

    fn try_sql(&self, sql: &str) -> Result<String, String> {
        let output = Command::new(Path::new(BINARIES).join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "admin", "-d", "world"])
            .arg("-h")
            .arg(self.directory.path())
            .args(["-p", &self.port.to_string(), "-c", sql])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Kills all of its processes at once, as a machine that fails would.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        let Some(mut process) = self.process.take() else { return };
        process.wait().unwrap();
    }

    /// Stops all of its processes for a while.
    pub(crate) fn pause(&self, pause: Duration) {
        self.signal("STOP");
        std::thread::sleep(pause);
        self.signal("CONT");
    }

    /// Sends a signal to all of its processes.
    fn signal(&self, signal: &str) {
        let Some(process) = &self.process else { return };
        let id = process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let mut kill = Command::new("kill");
        kill.args(["-s", signal, &id.to_string()]).stderr(Stdio::null());
        kill.args(children.unwrap_or_default().split_whitespace());
        // Some may have ended by themselves.
        drop(kill.status());
    }

    /// Starts it again.
    pub(crate) fn go_on(&mut self) {
        let began = Instant::now();
        loop {
            let mut process = self.spawn();
            loop {
                assert!(
                    began.elapsed() < START_TIMEOUT,
                    "the server did not start: {}",
                    self.log()
                );
                if self.try_sql("SELECT 1").is_ok() {
                    self.process = Some(process);
                    return;
                }
                if process.try_wait().unwrap().is_some() {
                    // What is left of a killed one may still hold its memory.
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.directory.path().join("log"));
        let mut command = as_server("postgres");
        command
            .arg("-D")
            .arg(self.directory.path().join("data"))
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(self.directory.path())
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=16MB"])
            .args(["-c", "max_connections=60"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::null()).stderr(log.unwrap()).spawn().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A program of the server, run as a user whom it accepts, and ended with the test's thread whatever becomes of that.
fn as_server(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", SERVER_USER, "--regid", SERVER_USER, "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(Path::new(BINARIES).join(program));
    command.current_dir("/");
    command
}

/// An initialized cluster to copy, made once: initializing takes ten times as long as copying. Who changes how it is made
/// gives it another name.
fn template() -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(kept).unwrap();
    let template = kept.join("postgres-15-a");
    let lock = File::create(template.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if template.exists() {
        return template;
    }
    // Made where the server's user may go, then moved to where it is kept, all at once.
    let directory = tempfile::tempdir().unwrap();
    if is_root() {
        run(Command::new("chown").arg(SERVER_USER).arg(directory.path()));
    }
    let data = directory.path().join("data");
    run(as_server("initdb").arg("-D").arg(&data).args([
        "--username=admin",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        "--no-sync",
        "--wal-segsize=1",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--locale-provider=icu",
        "--icu-locale=en-US",
    ]));
    let sql = format!(
        "CREATE ROLE pelago LOGIN PASSWORD '{PASSWORD}'\nCREATE DATABASE world OWNER pelago\n"
    );
    let script = directory.path().join("script");
    fs::write(&script, sql).unwrap();
    let mut single = as_server("postgres");
    single.args(["--single", "-D"]).arg(&data).arg("postgres").stdin(File::open(script).unwrap());
    run(&mut single);
    let beside = template.with_extension("new");
    drop(fs::remove_dir_all(&beside));
    run(Command::new("cp").arg("-a").arg(&data).arg(&beside));
    fs::rename(&beside, &template).unwrap();
    template
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
