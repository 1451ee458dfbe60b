//! Sudden death at a chosen system call: strace counts the calls of a program that change files, and kills it at one.
//!
//! The call at which a program is killed is not carried out any more. Which call of which thread comes first differs from
//! run to run, so a call is chosen as the n-th of its kind of any thread.

use super::PELAGO;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The calls that change files or their names. A machine need not have all of them.
const CALLS: &str = "openat,?mkdir,mkdirat,?rename,?renameat,renameat2,?unlink,unlinkat,?rmdir,write,pwrite64,\
                     writev,ftruncate,fsync,fdatasync,?chmod,fchmod,fchmodat";

/// One call: the `number`-th `call` of a thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    call: String,
    number: usize,
}

/// How a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At the chosen call.
    Killed,
    /// As it ends by itself, or because it was told to: the call was not made this time.
    Ended,
}

/// A `pelago` command that changes files in a directory.
pub(crate) struct Run<'a> {
    /// Its arguments.
    pub(crate) arguments: Vec<&'a str>,
    /// Calls that concern nothing in it are left out.
    pub(crate) directory: &'a Path,
}

impl Run<'_> {
    /// The calls of a run to its end; `None` where no process may trace another one, which is said.
    pub(crate) fn points(&self) -> Option<BTreeSet<Point>> {
        let log = self.directory.with_extension("strace");
        // Only the calls that are counted are slow.
        let mut strace = self.strace(&["--seccomp-bpf", "-y", "-o"]);
        strace.arg(&log).args(["-e", &format!("trace={CALLS}")]);
        if let Err(problem) = self.run(strace) {
            println!("skipped: strace: {problem}");
            return None;
        }
        Some(points(&std::fs::read_to_string(&log).unwrap(), self.directory))
    }

    /// Kills it at a call.
    pub(crate) fn killed_at(&self, point: &Point) -> End {
        let Point { call, number } = point;
        // With `--seccomp-bpf` nothing would be killed.
        let mut strace = self.strace(&["-o", "/dev/null"]);
        strace.args(["-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:signal=SIGKILL:when={number}")]);
        self.run(strace).unwrap()
    }

    fn strace(&self, arguments: &[&str]) -> Command {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "signal=none"]).args(arguments);
        // Of its own process group, which is told to end: strace ends with what it traces.
        strace.process_group(0).env("PELAGO_LOG", "off").env_remove("PELAGO_ADMIN_TOKEN");
        strace
    }

    /// Runs it; one that serves is told to end once it says that it is ready.
    fn run(&self, mut strace: Command) -> std::io::Result<End> {
        strace.arg(PELAGO).args(&self.arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = strace.spawn()?;
        let is_server = self.arguments[0] == "dev";
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        if is_server && lines.next().is_some() {
            let group = format!("-{}", process.id());
            let told = Command::new("kill").args(["-s", "TERM", "--", &group]).status()?;
            assert!(told.success());
        }
        // It may go on printing.
        lines.for_each(drop);
        let output = process.wait_with_output()?;
        // strace ends as what it traces did.
        match output.status.code() {
            Some(0) => Ok(End::Ended),
            None => Ok(End::Killed),
            Some(_) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(std::io::Error::other(said))
            }
        }
    }
}

/// The calls in a log of strace that concern something in a directory, and change something.
fn points(log: &str, directory: &Path) -> BTreeSet<Point> {
    let directory = directory.to_str().unwrap();
    let mut counts = BTreeMap::new();
    let mut points = BTreeSet::new();
    for line in log.lines() {
        // `PID CALL(ARGUMENTS) = RESULT`, or without its result if another thread comes between.
        let Some((thread, call)) = line.trim_start().split_once(' ') else { continue };
        let Some((call, arguments)) = call.trim_start().split_once('(') else { continue };
        if call.starts_with('<') {
            continue;
        }
        let number = counts.entry((thread.to_owned(), call.to_owned())).or_insert(0);
        *number += 1;
        let only_reads = call == "openat" && !arguments.contains("O_CREAT");
        if arguments.contains(directory) && !only_reads {
            points.insert(Point { call: call.to_owned(), number: *number });
        }
    }
    points
}

/// Which points are tried: all, if `PELAGO_SWEEP` is `all`; otherwise about `count` of them, other ones for every seed,
/// which is the number that `PELAGO_SWEEP` holds, or that of the day.
pub(crate) fn chosen(points: BTreeSet<Point>, count: usize) -> Vec<Point> {
    let asked = std::env::var("PELAGO_SWEEP").ok();
    if asked.as_deref() == Some("all") {
        return points.into_iter().collect();
    }
    let today = || {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        now.as_secs() as usize / (24 * 60 * 60)
    };
    let seed = asked.map_or_else(today, |seed| seed.parse().expect("PELAGO_SWEEP"));
    let step = points.len().div_ceil(count).max(1);
    println!("PELAGO_SWEEP={seed}: every {step}th of {} points", points.len());
    points.into_iter().skip(seed % step).step_by(step).collect()
}

/// A copy of a directory that takes no more room than the original.
pub(crate) fn copy(from: &Path, to: PathBuf) -> PathBuf {
    let mut copy = Command::new("cp");
    copy.args(["-a", "--sparse=always", "--"]).arg(from).arg(&to);
    assert!(copy.status().unwrap().success());
    to
}
