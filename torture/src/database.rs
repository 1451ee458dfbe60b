//! A PostgreSQL of the world's own, which can be stopped and killed. Needs the package `postgresql-15`.

use crate::processes::run;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where Debian puts version 15.
const BINARIES: &str = "/usr/lib/postgresql/15/bin";
/// The user whom it runs as if we are root, whom PostgreSQL refuses.
const USER: &str = "postgres";
/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A cluster. All of its processes are killed when it is dropped.
pub(crate) struct Database {
    folder: PathBuf,
    port: u16,
    process: Child,
}

impl Database {
    /// Makes one in a folder and starts it.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let folder = folder.canonicalize()?.join("postgres");
        fs::create_dir(&folder)?;
        if is_root()? {
            run(Command::new("chown").arg(USER).arg(&folder))?;
            open_the_way_to(&folder)?;
        }
        let mut initdb = program("initdb")?;
        initdb.arg("-D").arg(folder.join("data")).args(["--username=pelago", "--auth=trust"]);
        run(initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let database = Self { process: spawn(&folder, port)?, folder, port };
        database.wait_until_it_answers()?;
        Ok(database)
    }

    /// Its address as a store.
    pub(crate) fn address(&self) -> String {
        format!("postgres://pelago@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops all of its processes, or lets them go on.
    pub(crate) fn signal_all(&self, signal: &str) -> Result<()> {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let all = children.split_whitespace().map(str::to_owned).chain([id.to_string()]);
        // Some may have ended by themselves.
        drop(Command::new("kill").args(["-s", signal]).args(all).output());
        Ok(())
    }

    /// Kills it, and starts it again.
    pub(crate) fn kill_and_start(&mut self) -> Result<()> {
        self.signal_all("KILL")?;
        self.process.wait()?;
        // It cannot start while one of its processes has its memory.
        let began = Instant::now();
        loop {
            self.process = spawn(&self.folder, self.port)?;
            if self.wait_until_it_answers().is_ok() {
                return Ok(());
            }
            ensure!(began.elapsed() < START_TIMEOUT, "the database did not start again");
        }
    }

    fn wait_until_it_answers(&self) -> Result<()> {
        let began = Instant::now();
        let mut question = Command::new(Path::new(BINARIES).join("pg_isready"));
        question.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        while !question.status()?.success() {
            ensure!(
                began.elapsed() < START_TIMEOUT / 4,
                "PostgreSQL did not start: {}",
                self.folder.join("log").display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.signal_all("KILL"));
        drop(self.process.wait());
    }
}

fn spawn(folder: &Path, port: u16) -> Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let mut command = program("postgres")?;
    command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string(), "-k", ""]);
    for setting in ["listen_addresses=127.0.0.1", "max_connections=50"] {
        command.args(["-c", setting]);
    }
    command.stdout(Stdio::null()).stderr(log).spawn().context("postgres")
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

/// Lets the server's user pass through the folders above.
fn open_the_way_to(folder: &Path) -> Result<()> {
    let temporary = std::env::temp_dir().canonicalize()?;
    for above in folder.ancestors().skip(1).take_while(|above| **above != temporary) {
        if above.parent().is_none() || fs::metadata(above)?.uid() != 0 {
            break;
        }
        run(Command::new("chmod").arg("a+x").arg(above))?;
    }
    Ok(())
}

/// A program of the server, as a user whom it accepts, ended with this one whatever becomes of it.
fn program(name: &str) -> Result<Command> {
    let path = Path::new(BINARIES).join(name);
    ensure!(path.exists(), "{} is missing: install postgresql-15", path.display());
    let mut command = Command::new("setpriv");
    if is_root()? {
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(path).current_dir("/");
    Ok(command)
}
