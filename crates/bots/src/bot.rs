//! One bot: a session, a behavior, and a log.

use crate::Behavior;
use crate::shared::Shared;
use crate::verify::{Line, hex};
use crate::visibility_check::VisibilityCheck;

use pelago_client::tiles::Manifest;
use pelago_client::view::ViewTraffic;
use pelago_client::{Event, Identity, Session, Settings, Unanswered};
use pelago_model::{ChunkId, EntityId, IslandTime, Position, Secret, Trajectory};
use pelago_wire::client::{Arrival, Content, Outcome};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// How often a bot compares what it sees with the truth.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_millis(1000);
/// How often it does so when it looks out for people who are missing.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a bot waits for its last answer.
const LAST_ANSWER: Duration = Duration::from_secs(3);
/// Longer than anybody plays.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a bot has to tell in the end.
#[derive(Default)]
pub(crate) struct BotLog {
    pub(crate) entity: Option<EntityId>,
    /// The paths it took, in the order of their starts.
    pub(crate) paths: Vec<Trajectory>,
    /// The spans of island time in which it was connected.
    pub(crate) connected: Vec<(IslandTime, IslandTime)>,
    /// Numbers of the moves of others that it was shown.
    pub(crate) received: HashSet<u32>,
    pub(crate) bytes: u64,
    pub(crate) gaps: u64,
    pub(crate) refusals: u64,
    pub(crate) disconnections: u64,
    pub(crate) lost: u64,
}

/// When a bot that plays does what.
pub(crate) struct Timers {
    decide_at: Instant,
    pub(crate) look_at: Instant,
    pub(crate) sample_at: Instant,
    kick_at: Instant,
    /// When something came last.
    heard: Instant,
}

pub(crate) struct Bot {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
    identity: Identity,
    number: usize,
    /// Sessions begun: each begins at the next address.
    attempts: usize,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) gathers: bool,
    pub(crate) log: BotLog,
    /// When the durable command under way was first sent.
    pub(crate) acted: Option<Instant>,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) target: Option<(ChunkId, u16)>,
    /// Objects that were found empty lately.
    pub(crate) avoided: BTreeMap<(ChunkId, u16), Instant>,
    /// When it next gathers, if that has a period.
    pub(crate) gather_at: Instant,
    /// The position at which it appeared first.
    pub(crate) home: Option<Position>,
    /// When a bot that feeds the campfire takes the next turn.
    pub(crate) turn_at: Instant,
    /// The direction of a bot that walks straight on, as an angle.
    pub(crate) heading: Option<f64>,
    pub(crate) own_moves: BTreeMap<u32, u32>,
    pub(crate) visibility_check: VisibilityCheck,
    /// What came of this view and is counted already.
    pub(crate) counted: ViewTraffic,
    /// Its position when it last looked around.
    pub(crate) chunk: Option<ChunkId>,
    /// Since when it plays, if it does.
    playing_since: Option<IslandTime>,
    /// It has ended its connection itself.
    vanished: bool,
    pub(crate) timers: Timers,
}

/// The token of a bot follows from its seed and name, so that another run plays the same avatars. Anybody who knows the
/// seed can do the same: bots have nothing to guard.
fn token(seed: u64, name: &str) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key("pelago 2026 token of a bot");
    hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
    Secret::new(hasher.finalize().as_bytes().to_vec())
}

/// Plays until the end.
pub(crate) async fn run(
    shared: Arc<Shared>,
    number: usize,
    mut end: watch::Receiver<bool>,
) -> BotLog {
    let mut bot = Bot::new(shared, number);
    if let Err(error) = bot.play(&mut end).await {
        tracing::error!(bot = bot.name, error = format!("{error:#}"), "a bot gave up");
    }
    bot.log
}

/// Waits for the end.
async fn ended(end: &mut watch::Receiver<bool>) {
    // Without a sender it is the end, too.
    drop(end.wait_for(|end| *end).await);
}

impl Bot {
    fn new(shared: Arc<Shared>, number: usize) -> Self {
        let plan = &shared.plan;
        let name = format!("bot-{}-{number}", plan.seed);
        let arrival = if plan.radius.is_some() { Arrival::Home } else { Arrival::Anywhere };
        let now = Instant::now();
        Self {
            identity: Identity { name: name.clone(), token: token(plan.seed, &name), arrival },
            name,
            number,
            attempts: 0,
            rng: ChaCha8Rng::seed_from_u64(plan.seed.wrapping_mul(1_000_003) ^ number as u64),
            gathers: match plan.behavior {
                Behavior::Wander | Behavior::Cross | Behavior::Feed => false,
                Behavior::Gather => true,
                Behavior::Mixed => number % 2 == 1,
            },
            log: BotLog::default(),
            acted: None,
            manifest: None,
            target: None,
            avoided: BTreeMap::new(),
            gather_at: now,
            home: None,
            turn_at: now,
            heading: None,
            own_moves: BTreeMap::new(),
            visibility_check: VisibilityCheck::default(),
            counted: ViewTraffic::default(),
            chunk: None,
            playing_since: None,
            vanished: false,
            timers: Timers {
                decide_at: now,
                look_at: now,
                sample_at: now,
                kick_at: now,
                heard: now,
            },
            shared,
        }
    }

    /// Begins a session, which is to repeat what an earlier one left unanswered.
    fn connect(&mut self, unanswered: Option<Unanswered>) -> Session {
        let plan = &self.shared.plan;
        let mut addresses = plan.addresses.clone();
        addresses.rotate_left((self.number + self.attempts) % plan.addresses.len().max(1));
        let seed = plan.seed ^ ((self.number as u64) << 32) ^ self.attempts as u64;
        self.attempts += 1;
        let settings = Settings {
            unanswered,
            ping_every_ms: i64::try_from(plan.ping_every.as_millis()).unwrap_or(i64::MAX),
            pong_timeout_ms: i64::try_from(plan.pong_timeout.as_millis()).unwrap_or(i64::MAX),
            ..Settings::new(self.identity.clone(), addresses, seed)
        };
        let sources = &plan.sources;
        let source = (!sources.is_empty()).then(|| sources[self.number % sources.len()]);
        Session::start(settings, plan.transport.clone(), source)
    }

    /// Plays until the end, through as many connections as it takes.
    async fn play(&mut self, end: &mut watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut session = self.connect(None);
        // A session that the present one takes over from: nobody reads it any more.
        let mut old: Option<Session> = None;
        loop {
            let plays = session.is_playing();
            let look_at = if self.shared.plan.watch_missing {
                self.timers.look_at.min(self.timers.sample_at)
            } else {
                self.timers.sample_at
            };
            tokio::select! {
                event = session.next() => match event {
                    Some(event) => {
                        self.take_in(&session, event)?;
                        if session.is_playing()
                            && let Some(old) = old.take()
                        {
                            self.log.bytes += old.received();
                        }
                    }
                    // It was refused for good, or superseded by somebody with the same seed.
                    None => {
                        let pause = Duration::from_millis(200 + u64::from(self.rng.next_u32() % 300));
                        tokio::select! {
                            () = sleep(pause) => {}
                            () = ended(end) => break,
                        }
                        self.log.bytes += session.received();
                        session = self.connect(session.unanswered());
                    }
                },
                () = sleep_until(self.timers.decide_at), if plays => {
                    let wait = self.decide(&mut session).await;
                    self.timers.decide_at = Instant::now() + wait;
                }
                () = sleep_until(look_at), if plays => self.look_around(&session),
                () = sleep_until(self.timers.kick_at), if plays => {
                    if self.rng.next_u32().is_multiple_of(2) {
                        self.shared.sessions.taken_over.fetch_add(1, Ordering::Relaxed);
                        self.ended_playing(&session);
                        let next = self.connect(session.unanswered());
                        old = Some(std::mem::replace(&mut session, next));
                    } else {
                        self.shared.sessions.vanished.fetch_add(1, Ordering::Relaxed);
                        self.vanished = true;
                        session.cut();
                    }
                }
                () = ended(end) => break,
            }
        }
        self.leave(session).await
    }

    /// Requests made before the end are still answered, if it does not take long; then it leaves.
    async fn leave(&mut self, mut session: Session) -> anyhow::Result<()> {
        let deadline = Instant::now() + LAST_ANSWER;
        while session.is_acting() && session.is_playing() {
            tokio::select! {
                event = session.next() => match event {
                    Some(event) => self.take_in(&session, event)?,
                    None => break,
                },
                () = sleep_until(deadline) => break,
            }
        }
        self.log.lost += u64::from(session.is_acting());
        self.ended_playing(&session);
        self.log.bytes += session.received();
        session.bye().await;
        Ok(())
    }

    fn take_in(&mut self, session: &Session, event: Event) -> anyhow::Result<()> {
        self.note_gap();
        match event {
            Event::Welcomed => self.welcomed(session),
            Event::Changes(changes) => self.observe(session.avatar(), changes),
            Event::Outcome(outcome) if outcome.sequence > 0 => {
                let soon = self.outcome(session, &outcome)?;
                self.timers.decide_at = Instant::now() + soon;
            }
            Event::MoveRefused { number, .. } => {
                let number = self.own_moves.remove(&number);
                self.shared.ledger.corrected(session.avatar(), session.path(), number);
                self.note_path(session);
                self.target = None;
                self.heading = None;
                self.timers.decide_at = Instant::now() + Duration::from_millis(300);
            }
            Event::Content(content) => self.keep(session, content),
            Event::Disconnected(loss) | Event::Ended { loss, .. } => {
                let counts = &self.shared.sessions;
                if self.playing_since.is_none() {
                    tracing::debug!(bot = self.name, %loss, "a bot was not let in");
                    self.log.refusals += 1;
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                } else if !std::mem::take(&mut self.vanished) {
                    tracing::debug!(bot = self.name, %loss, "a bot was cut off");
                    self.log.disconnections += 1;
                    counts.cut_off.fetch_add(1, Ordering::Relaxed);
                }
                self.ended_playing(session);
            }
            Event::Outcome(_)
            | Event::Unsettled { .. }
            | Event::Line(_)
            | Event::Notice(_)
            | Event::Pong { .. } => {}
        }
        Ok(())
    }

    fn welcomed(&mut self, session: &Session) {
        self.log.entity = Some(session.avatar());
        self.playing_since = Some(session.island_now());
        self.shared.ledger.corrected(session.avatar(), session.path(), None);
        self.note_path(session);
        self.home.get_or_insert(session.path().start());
        self.own_moves.clear();
        self.counted = ViewTraffic::default();
        self.shared.playing.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        self.timers = Timers {
            decide_at: now + Duration::from_millis(u64::from(self.rng.next_u32() % 2000)),
            look_at: now + LOOK_EVERY,
            sample_at: now + SAMPLE_EVERY,
            kick_at: now + self.kick_after(),
            heard: now,
        };
    }

    /// It plays no more, or not for now.
    fn ended_playing(&mut self, session: &Session) {
        let Some(from) = self.playing_since.take() else { return };
        if !self.shared.plan.forgetful {
            self.log.connected.push((from, session.island_now()));
        }
        self.log.gaps += session.view().gaps();
        self.shared.ledger.left(session.avatar());
        self.shared.playing.fetch_sub(1, Ordering::Relaxed);
    }

    /// Remembers a path for the report.
    pub(crate) fn note_path(&mut self, session: &Session) {
        if !self.shared.plan.forgetful {
            self.log.paths.push(session.path().clone());
        }
    }

    fn note_gap(&mut self) {
        let gap = self.timers.heard.elapsed();
        self.timers.heard = Instant::now();
        if gap > Duration::from_secs(1)
            && self.playing_since.is_some()
            && let Some(mut meters) = self.shared.meters()
        {
            meters.longest_gap_ms = meters.longest_gap_ms.max(gap.as_millis() as u64);
        }
    }

    /// When the session is to end without a goodbye, if ever.
    fn kick_after(&mut self) -> Duration {
        match self.shared.plan.kick_mean {
            Some(mean) => mean.mul_f64(-self.unit().max(1e-9).ln()),
            None => NEVER,
        }
    }

    /// Keeps content for all bots.
    fn keep(&mut self, session: &Session, content: Content) {
        // A command that came too often is asked for again.
        if !content.code.is_empty() {
            return;
        }
        if content.hash == session.welcome().manifest {
            self.manifest = Manifest::decode(&content.data).ok();
        }
        let mut tiles = self.shared.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        tiles.insert(content.hash, content.data);
    }

    /// Takes in the outcome of a durable command; returns when to decide next.
    fn outcome(&mut self, session: &Session, outcome: &Outcome) -> anyhow::Result<Duration> {
        let sent = self.acted.take();
        if !outcome.code.is_empty() {
            if let Some(mut meters) = self.shared.meters() {
                meters.refused += 1;
            }
            if let Some(target) = self.target.take() {
                self.avoided.insert(target, Instant::now());
            }
            return Ok(Duration::from_millis(500));
        }
        if let Some(mut meters) = self.shared.meters() {
            meters.acked += 1;
            let latency = sent.map_or(Duration::ZERO, |sent| sent.elapsed());
            meters.latency_ms.saturating_record(latency.as_millis() as u64);
        }
        if let Some(journal) = &self.shared.journal {
            journal.write(&Line {
                name: self.name.clone(),
                avatar: session.avatar(),
                sequence: outcome.sequence,
                chain: hex(&outcome.chain),
            })?;
        }
        if self.shared.plan.behavior == Behavior::Feed {
            return Ok(Duration::ZERO);
        }
        Ok(Duration::from_millis(200 + u64::from(self.rng.next_u32() % 1500)))
    }
}
