//! A leg: one world on one engine, its players, and fault after fault until the time is over.

use crate::checker::Checker;
use crate::database::Database;
use crate::disk::Disk;
use crate::fault::Fault;
use crate::proxy::{self, Network};
use crate::schedule::{Engine, Schedule, Step};
use crate::world::{Start, World};
use crate::{journal, processes};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long after a fault is healed players may wait for the next acknowledgement, and operators for readiness.
const RECOVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether that has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long players may take to end.
const PLAYERS_END: Duration = Duration::from_secs(30);

/// What a leg is made of.
pub(crate) struct Leg<'a> {
    pub(crate) pelago: &'a Path,
    /// Of its own.
    pub(crate) folder: &'a Path,
    pub(crate) engine: Engine,
    pub(crate) seed: u64,
    pub(crate) bots: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By kind of fault, how long after it was healed something was acknowledged again.
    pub(crate) recoveries: BTreeMap<&'static str, Vec<Duration>>,
    pub(crate) acknowledged: usize,
    pub(crate) documents: usize,
    pub(crate) comparisons: usize,
    pub(crate) objections: Vec<String>,
    /// What is worth knowing and nothing wrong.
    pub(crate) notes: Vec<String>,
}

/// The players' process. It is killed when it is dropped: an error must not leave it behind.
struct Players(Child);

impl Drop for Players {
    fn drop(&mut self) {
        // It has ended already unless something went wrong.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A leg under way.
struct Run {
    folder: PathBuf,
    start: Start,
    world: Option<World>,
    disk: Option<Disk>,
    database: Option<Database>,
    network: Arc<Network>,
    journal: PathBuf,
    checker: Checker,
    tally: Tally,
}

impl Leg<'_> {
    /// Tortures a world for so long. An error is one of the torture itself; what is wrong with the world is in the tally.
    pub(crate) fn run(&self, time: Duration) -> Result<Tally> {
        let mut run = self.begin()?;
        let mut players = self.players(&run)?;
        let began = Instant::now();
        run.until_acknowledged(0, None).context("at the beginning")?;
        for step in Schedule::new(self.seed, self.engine) {
            if began.elapsed() > time || !run.tally.objections.is_empty() {
                break;
            }
            if step.fault.needs_a_disk() && run.disk.is_none() {
                continue;
            }
            if let Err(error) = run.step(step) {
                run.tally.objections.push(format!("{}: {error:#}", step.fault));
            }
            ensure!(players.0.try_wait()?.is_none(), "the players have ended");
        }
        run.end(players)?;
        Ok(run.tally)
    }

    fn begin(&self) -> Result<Run> {
        let folder = self.folder.to_owned();
        let (disk, database) = match self.engine {
            // Not every machine lets us mount: what needs a disk is left out then, and that is said.
            Engine::Embedded => (Disk::make(&folder).inspect_err(without_disk).ok(), None),
            Engine::Postgres => (None, Some(Database::make(&folder)?)),
        };
        let above = disk.as_ref().map_or(folder.as_path(), Disk::path);
        let start = Start {
            pelago: self.pelago.to_owned(),
            data: above.join("data"),
            store: database.as_ref().map(Database::address),
            port: Start::free_ports()?,
            log: folder.join("world.log"),
            clock: folder.join("clock"),
        };
        start.set_clock(0)?;
        Ok(Run {
            world: Some(start.start()?),
            start,
            disk,
            database,
            network: Arc::default(),
            journal: folder.join("journal"),
            checker: Checker::default(),
            tally: Tally::default(),
            folder,
        })
    }

    /// Players who play until they are told to end, through a network that can be broken.
    fn players(&self, run: &Run) -> Result<Players> {
        let addresses = run.start.addresses().map(|node| proxy::before(node, &run.network));
        let addresses: Vec<String> =
            addresses.map(|it| Ok(it?.to_string())).collect::<Result<_>>()?;
        let players = Command::new(self.pelago)
            .args(["bots", "--connect", &addresses.join(","), "--count", &self.bots.to_string()])
            .args(["--seconds", "100000", "--seed", &self.seed.to_string()])
            .arg("--journal")
            .arg(&run.journal)
            .stdout(Stdio::null())
            .stderr(File::create(self.folder.join("players.log"))?)
            .spawn()
            .context("the players")?;
        Ok(Players(players))
    }
}

fn without_disk(error: &anyhow::Error) {
    println!("  without power cuts, frozen and full disks: {error:#}");
}

impl Run {
    fn step(&mut self, step: Step) -> Result<()> {
        sleep(step.calm);
        println!("  {}", step.fault);
        self.happen(step)?;
        let healed = Instant::now();
        let acknowledged = journal::count(&self.journal);
        self.until_acknowledged(acknowledged, Some(step.fault))?;
        self.tally.recoveries.entry(step.fault.kind()).or_default().push(healed.elapsed());
        self.until_ready()
    }

    /// Lets it happen, and heals it.
    fn happen(&mut self, Step { fault, compare, .. }: Step) -> Result<()> {
        match fault {
            Fault::Kill => {
                self.take_world()?.kill()?;
                self.start_again(compare)
            }
            Fault::Terminate => {
                self.take_world()?.terminate()?;
                self.start_again(compare)
            }
            Fault::Stop(time) => {
                self.world()?.signal(Signal::STOP)?;
                sleep(time);
                self.world()?.signal(Signal::CONT)
            }
            Fault::PowerCut => {
                self.disk()?.cut_power()?;
                // It may notice.
                sleep(Duration::from_millis(300));
                self.take_world()?.kill()?;
                self.disk()?.power_on()?;
                self.start_again(compare)
            }
            Fault::Freeze(time) => {
                self.disk()?.freeze()?;
                sleep(time);
                self.disk()?.thaw()
            }
            Fault::Fill(time) => {
                self.disk()?.fill()?;
                sleep(time);
                self.disk()?.empty()
            }
            Fault::StepClock(seconds, time) => {
                self.start.set_clock(seconds)?;
                sleep(time);
                self.start.set_clock(0)
            }
            Fault::SilenceDatabase(time) => {
                let database = self.database.as_ref().context("no database")?;
                database.signal_all("STOP")?;
                sleep(time);
                database.signal_all("CONT")
            }
            Fault::KillDatabase => self.database.as_mut().context("no database")?.kill_and_start(),
            Fault::Cut => {
                self.network.cut();
                Ok(())
            }
            Fault::Stall(time) => {
                self.network.set_stalled(true);
                sleep(time);
                self.network.set_stalled(false);
                Ok(())
            }
            Fault::Vanish(time) => {
                self.network.set_vanishing(true);
                sleep(time);
                self.network.set_vanishing(false);
                Ok(())
            }
        }
    }

    fn world(&self) -> Result<&World> {
        self.world.as_ref().context("there is no world")
    }

    fn take_world(&mut self) -> Result<World> {
        self.world.take().context("there is no world")
    }

    fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().context("there is no disk of its own")
    }

    fn start_again(&mut self, compare: bool) -> Result<()> {
        if compare {
            self.compare(false)?;
        }
        self.world = Some(self.start.start()?);
        Ok(())
    }

    /// Waits until more is acknowledged than so much. A world that has ended by itself is started again meanwhile, as its
    /// supervisor would, if what happened to it may end it.
    fn until_acknowledged(&mut self, than: usize, happened: Option<Fault>) -> Result<()> {
        let began = Instant::now();
        while journal::count(&self.journal) <= than {
            if let Some(world) = &mut self.world
                && let Some(status) = world.has_ended()?
            {
                let fault = happened.filter(|fault| fault.may_end_the_world());
                let Some(fault) = fault else { bail!("the world has ended by itself: {status}") };
                self.tally.notes.push(format!("{fault}: the world ended by itself ({status})"));
                self.start_again(true)?;
            }
            let patience = RECOVERY.as_secs();
            ensure!(began.elapsed() < RECOVERY, "nothing was acknowledged for {patience} s");
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Waits until operators are told that it is alive and ready.
    fn until_ready(&self) -> Result<()> {
        let (world, began) = (self.world()?, Instant::now());
        ensure!(world.answers("/healthz"), "a world that serves players is not alive");
        while !world.answers("/readyz") {
            let patience = RECOVERY.as_secs();
            ensure!(began.elapsed() < RECOVERY, "it was not ready for {patience} s");
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Compares the documents with what was acknowledged so far.
    fn compare(&mut self, running: bool) -> Result<()> {
        let acknowledged = journal::read(&self.journal)?;
        let archive = self.folder.join(format!("archive-{}", self.checker.comparisons));
        let world = if running { self.world.as_ref() } else { None };
        self.start.back_up(&archive, world)?;
        self.tally.objections.extend(self.checker.compare(&archive, &acknowledged)?);
        if self.tally.objections.is_empty() {
            std::fs::remove_dir_all(&archive)?;
        }
        Ok(())
    }

    /// Compares what there is at last, with the world running and ended.
    fn end(&mut self, mut players: Players) -> Result<()> {
        if self.world.is_some() {
            self.compare(true)?;
        }
        processes::signal(&players.0, Signal::INT)?;
        let began = Instant::now();
        while players.0.try_wait()?.is_none() && began.elapsed() < PLAYERS_END {
            sleep(LOOK_EVERY);
        }
        drop(players);
        if let Some(world) = self.world.take()
            && let Err(error) = world.terminate()
        {
            self.tally.objections.push(format!("at the end: {error:#}"));
        }
        self.compare(false)?;
        self.tally.acknowledged = journal::count(&self.journal);
        self.tally.documents = self.checker.documents;
        self.tally.comparisons = self.checker.comparisons;
        Ok(())
    }
}
