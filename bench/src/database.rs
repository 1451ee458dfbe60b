//! A PostgreSQL of a measurement's own: a fresh cluster in the scratch folder, with the settings that Debian gives it but for
//! memory. Needs the package `postgresql-15`. If the measurement runs as root, which PostgreSQL refuses, it runs as `postgres`.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where Debian puts version 15.
const BINARIES: &str = "/usr/lib/postgresql/15/bin";
/// The user whom it runs as if the measurement runs as root.
const SERVER_USER: &str = "postgres";
/// How long it may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// As the engine sets its sessions (`pelago_store::postgres`), and values as short as the engine's.
const SESSION: &str = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off \
                       -c bytea_output=escape";

/// A cluster. Its processes are killed when it is dropped.
pub(crate) struct Database {
    directory: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Database {
    /// Makes one in a folder of `scratch` and starts it.
    pub(crate) fn start(scratch: &Path) -> Result<Self> {
        fs::create_dir_all(scratch)?;
        let directory = scratch.canonicalize()?.join("postgres");
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir(&directory)?;
        if is_root()? {
            run(Command::new("chown").arg(SERVER_USER).arg(&directory))?;
        }
        let initialize = ["--username=pelago", "--auth=trust", "--no-sync", "--encoding=UTF8"];
        let mut initdb = as_server("initdb")?;
        initdb.arg("-D").arg(directory.join("data")).args(initialize).arg("--locale=C.UTF-8");
        run(&mut initdb)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut database = Self { directory, port, process: None };
        database.go_on()?;
        database.until_it_answers()?;
        Ok(database)
    }

    /// Its address as a store.
    pub(crate) fn address(&self) -> String {
        format!("postgres://pelago@127.0.0.1:{}/postgres", self.port)
    }

    /// Its files.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts it if it does not run, without waiting until it answers.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(self.directory.join("log"))?;
        let mut command = as_server("postgres")?;
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-k", ""]);
        for setting in ["listen_addresses=127.0.0.1", "shared_buffers=256MB", "max_connections=100"]
        {
            command.args(["-c", setting]);
        }
        self.process = Some(command.stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    fn until_it_answers(&self) -> Result<()> {
        let began = Instant::now();
        while self.sql("SELECT 1").is_err() {
            let log = self.directory.join("log");
            ensure!(began.elapsed() < PATIENCE, "PostgreSQL did not start: {}", log.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        signal("INT", &[process.id()]);
        let began = Instant::now();
        while process.try_wait()?.is_none() {
            ensure!(began.elapsed() < PATIENCE, "PostgreSQL did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Kills all of its processes at once.
    pub(crate) fn kill(&mut self) {
        let all = self.processes();
        signal("KILL", &all);
        if let Some(mut process) = self.process.take() {
            // It has ended by the signal.
            drop(process.wait());
        }
        // It cannot start again while one of them has its memory.
        let began = Instant::now();
        while !all.iter().all(|id| has_ended(*id)) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn processes(&self) -> Vec<u32> {
        let Some(process) = &self.process else { return Vec::new() };
        let id = process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        children.chain([id]).collect()
    }

    /// Memory of all of its processes, what they share counted once.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.processes().into_iter().filter_map(proportional_bytes).sum()
    }

    /// What it answers.
    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        let mut psql = Command::new(Path::new(BINARIES).join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"]);
        psql.arg(self.address().replace("postgres://", "postgresql://")).args(["-c", sql]);
        Ok(run(&mut psql)?.trim().to_owned())
    }

    /// Runs a script of pgbench's with prepared statements, by so many clients with a connection each, and returns how often
    /// it ran per second. Variables are numbers.
    pub(crate) fn pgbench(
        &self,
        script: &str,
        clients: usize,
        time: Duration,
        variables: &[(&str, usize)],
    ) -> Result<f64> {
        let file = self.directory.join("script.sql");
        fs::write(&file, script)?;
        let mut pgbench = Command::new(Path::new(BINARIES).join("pgbench"));
        pgbench.env("PGOPTIONS", SESSION).args(["-n", "-M", "prepared", "-f"]).arg(file);
        pgbench.args(["-c", &clients.to_string(), "-j", &clients.min(2).to_string()]);
        pgbench.args(["-T", &time.as_secs().to_string(), "-h", "127.0.0.1"]);
        pgbench.args(["-p", &self.port.to_string(), "-U", "pelago"]);
        for (name, value) in variables {
            pgbench.args(["-D", &format!("{name}={value}")]);
        }
        let said = run(pgbench.arg("postgres"))?;
        let mut lines = said.lines();
        let rate = lines.find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
        Ok(rate.with_context(|| format!("pgbench said: {said}"))?.parse()?)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Memory of a process; what it shares with others is divided among them.
pub(crate) fn proportional_bytes(id: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes * 1024)
}

/// Whether there is nothing left of a process but its number.
fn has_ended(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything; the state follows it.
    stat.rsplit_once(") ").is_none_or(|(_, after)| after.starts_with(['Z', 'X']))
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

/// A program of the server, as a user whom it accepts, ended with this one whatever becomes of it.
fn as_server(program: &str) -> Result<Command> {
    let path = Path::new(BINARIES).join(program);
    ensure!(path.exists(), "{} is missing: install postgresql-15", path.display());
    let mut command = Command::new("setpriv");
    if is_root()? {
        command.args(["--reuid", SERVER_USER, "--regid", SERVER_USER, "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(path).current_dir("/");
    Ok(command)
}

/// Some may have ended by themselves.
fn signal(name: &str, processes: &[u32]) {
    let ids = processes.iter().map(u32::to_string);
    drop(Command::new("kill").args(["-s", name]).args(ids).stderr(Stdio::null()).status());
}

/// What a program prints, which must end well.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
