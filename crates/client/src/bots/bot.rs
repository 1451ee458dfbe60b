//! One bot: a session, a will, and a log.

use super::Behavior;
use super::fleet::Shared;
use super::verify::Line;
use super::visibility_check::VisibilityCheck;

use crate::session::{Identity, Incoming, Session};
use crate::tiles::Manifest;
use crate::view::{Change, ViewTraffic};
use bytes::Bytes;
use pelago_model::{ChunkId, EntityId, IslandTime, Position, Secret, Trajectory};
use pelago_wire::client::{Arrival, Outcome, server_message};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

/// How often a bot compares what it sees with the truth.
const SAMPLE_EVERY: Duration = Duration::from_millis(1000);
/// How often it does so when it looks out for people who are missing.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a bot waits for its last answer.
const LAST_ANSWER: Duration = Duration::from_secs(3);

/// Longer than anybody plays.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a bot's session ends by its own will.
enum End {
    /// The time is over.
    Over,
    /// Without a goodbye.
    Vanish,
    /// By a newer one.
    TakeOver,
}

/// What a bot has to tell in the end.
#[derive(Default)]
pub(super) struct BotLog {
    pub(super) entity: Option<EntityId>,
    /// The paths it took, in the order of their starts.
    pub(super) paths: Vec<Trajectory>,
    /// The spans of island time in which it was connected.
    pub(super) connected: Vec<(IslandTime, IslandTime)>,
    /// Numbers of the moves of others that it was shown.
    pub(super) received: HashSet<u32>,
    pub(super) bytes: u64,
    pub(super) gaps: u64,
    pub(super) refusals: u64,
    pub(super) disconnections: u64,
    pub(super) lost: u64,
}

pub(super) struct Pending {
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
    pub(super) sent: Instant,
    /// It was answered `unavailable`: only the very same command tells whether it happened.
    pub(super) is_open: bool,
}

pub(super) struct Bot {
    pub(super) shared: Arc<Shared>,
    pub(super) name: String,
    identity: Identity,
    pub(super) rng: ChaCha8Rng,
    pub(super) gathers: bool,
    pub(super) log: BotLog,
    pub(super) sequence: u64,
    pub(super) pending: Option<Pending>,
    pub(super) manifest: Option<Manifest>,
    pub(super) target: Option<(ChunkId, u16)>,
    /// What was found empty lately.
    pub(super) avoided: BTreeMap<(ChunkId, u16), Instant>,
    /// When it next gathers, if that has a period.
    pub(super) gather_at: Instant,
    /// Where it appeared first.
    pub(super) home: Option<Position>,
    /// When one who feeds the campfire takes the next turn.
    pub(super) turn_at: Instant,
    /// Where one who walks straight on goes, as an angle.
    pub(super) heading: Option<f64>,
    pub(super) own_moves: BTreeMap<u32, u32>,
    visibility_check: VisibilityCheck,
    counted: ViewTraffic,
    chunk: Option<ChunkId>,
}

/// The token of a bot follows from its seed and name, so that another run plays the same avatars. Whoever knows the
/// seed can do the same: bots have nothing to guard.
fn token(seed: u64, name: &str) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key("pelago 2026 token of a bot");
    hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
    Secret::new(hasher.finalize().as_bytes().to_vec())
}

/// Plays until the end.
pub(super) async fn run(
    shared: Arc<Shared>,
    number: usize,
    mut end: watch::Receiver<bool>,
) -> BotLog {
    let plan = &shared.plan;
    let name = format!("bot-{}-{number}", plan.seed);
    let arrival = if plan.radius.is_some() { Arrival::Home } else { Arrival::Anywhere };
    let mut bot = Bot {
        identity: Identity { name: name.clone(), token: token(plan.seed, &name), arrival },
        name,
        rng: ChaCha8Rng::seed_from_u64(plan.seed.wrapping_mul(1_000_003) ^ number as u64),
        gathers: match plan.behavior {
            Behavior::Wander | Behavior::Cross | Behavior::Feed => false,
            Behavior::Gather => true,
            Behavior::Mixed => number % 2 == 1,
        },
        log: BotLog::default(),
        sequence: 0,
        pending: None,
        manifest: None,
        target: None,
        avoided: BTreeMap::new(),
        gather_at: Instant::now(),
        home: None,
        turn_at: Instant::now(),
        heading: None,
        own_moves: BTreeMap::new(),
        visibility_check: VisibilityCheck::default(),
        counted: ViewTraffic::default(),
        chunk: None,
        shared: shared.clone(),
    };
    let mut attempt = number;
    // Taken over by the next session.
    let mut old = None;
    while !*end.borrow() {
        let address = &plan.addresses[attempt % plan.addresses.len()];
        let source = (!plan.sources.is_empty()).then(|| plan.sources[number % plan.sources.len()]);
        let opened = Session::open(address, &plan.transport, source, &bot.identity);
        let session = tokio::select! {
            session = opened => session,
            () = ended(&mut end) => break,
        };
        match session {
            Ok(session) => {
                drop(old.take());
                old = bot.play(session, &mut end).await;
            }
            Err(error) => {
                tracing::debug!(bot = bot.name, %error, "a bot was not let in");
                bot.log.refusals += 1;
                shared.sessions.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        if !*end.borrow() {
            // Elsewhere, after a moment: the node may be down.
            attempt += 1;
            if old.is_some() {
                continue;
            }
            let pause = Duration::from_millis(200 + u64::from(bot.rng.next_u32() % 300));
            tokio::select! {
                () = sleep(pause) => {}
                () = ended(&mut end) => {}
            }
        }
    }
    bot.log.lost += u64::from(bot.pending.is_some());
    bot.log
}

/// Waits for the end.
async fn ended(end: &mut watch::Receiver<bool>) {
    // Without a sender it is the end, too.
    drop(end.wait_for(|end| *end).await);
}

impl Bot {
    /// Plays on one session until it or the time ends. Returns it if the next one is to take over from it.
    async fn play(
        &mut self,
        mut session: Session,
        end: &mut watch::Receiver<bool>,
    ) -> Option<Session> {
        let from = session.island_now();
        self.log.entity = Some(session.avatar);
        self.shared.ledger.corrected(session.avatar, &session.path, None);
        self.note_path(&session);
        self.home.get_or_insert(session.path.start());
        self.own_moves.clear();
        self.counted = ViewTraffic::default();
        self.shared.playing.fetch_add(1, Ordering::Relaxed);
        self.sequence = session.welcome.sequence;
        let finished = self.play_on(&mut session, end).await;
        if !self.shared.plan.forgetful {
            self.log.connected.push((from, session.island_now()));
        }
        self.log.bytes += session.received();
        self.log.gaps += session.view.gaps();
        self.shared.ledger.left(session.avatar);
        self.shared.playing.fetch_sub(1, Ordering::Relaxed);
        match finished {
            Ok(End::Over) => session.bye().await,
            Ok(End::Vanish) => {
                self.shared.sessions.vanished.fetch_add(1, Ordering::Relaxed);
            }
            Ok(End::TakeOver) => {
                self.shared.sessions.taken_over.fetch_add(1, Ordering::Relaxed);
                return Some(session);
            }
            Err(error) => {
                tracing::debug!(bot = self.name, error = format!("{error:#}"), "a bot was cut off");
                self.log.disconnections += 1;
                self.shared.sessions.cut_off.fetch_add(1, Ordering::Relaxed);
            }
        }
        None
    }

    /// Remembers a path for the report.
    pub(super) fn note_path(&mut self, session: &Session) {
        if !self.shared.plan.forgetful {
            self.log.paths.push(session.path.clone());
        }
    }

    /// When the session is to end without a goodbye, if ever.
    fn kick_after(&mut self) -> Duration {
        match self.shared.plan.kick_mean {
            Some(mean) => mean.mul_f64(-self.unit().max(1e-9).ln()),
            None => NEVER,
        }
    }

    async fn play_on(
        &mut self,
        session: &mut Session,
        end: &mut watch::Receiver<bool>,
    ) -> anyhow::Result<End> {
        if let Some(pending) = &self.pending {
            // Asked before the connection broke: asking again gives the same answer.
            session.act(pending.sequence, pending.payload.clone()).await?;
        }
        session.ping().await?;
        let mut changes = Vec::new();
        let mut heard = Instant::now();
        let now = tokio::time::Instant::now();
        let mut decide_at = now + Duration::from_millis(u64::from(self.rng.next_u32() % 2000));
        let look_every = if self.shared.plan.watch_missing { LOOK_EVERY } else { SAMPLE_EVERY };
        let mut look_at = now + look_every;
        let mut sample_at = now + SAMPLE_EVERY;
        let mut ping_at = now + self.shared.plan.ping_every;
        let kick_at = now + self.kick_after();
        loop {
            tokio::select! {
                incoming = session.next(&mut changes) => {
                    let Some(incoming) = incoming? else { anyhow::bail!("the node hung up") };
                    let gap = heard.elapsed();
                    heard = Instant::now();
                    if gap > Duration::from_secs(1)
                        && let Some(mut meters) = self.shared.meters()
                    {
                        meters.longest_gap_ms = meters.longest_gap_ms.max(gap.as_millis() as u64);
                    }
                    self.observe(session.avatar, &mut changes);
                    if let Incoming::Control(body) = incoming
                        && let Some(soon) = self.told(session, *body)?
                    {
                        decide_at = tokio::time::Instant::now() + soon;
                    }
                }
                () = sleep_until(decide_at) => {
                    let wait = self.decide(session).await?;
                    decide_at = tokio::time::Instant::now() + wait;
                }
                () = sleep_until(look_at.min(sample_at).min(ping_at)) => {
                    let now = tokio::time::Instant::now();
                    if self.shared.plan.watch_missing && look_at <= now {
                        self.look(session);
                    }
                    if look_at <= now {
                        look_at += look_every;
                    }
                    if sample_at <= now {
                        sample_at += SAMPLE_EVERY;
                        self.sample(session);
                    }
                    if ping_at <= now {
                        ping_at += self.shared.plan.ping_every;
                        session.ping().await?;
                    }
                }
                () = sleep_until(kick_at) => {
                    let takes_over = self.rng.next_u32().is_multiple_of(2);
                    return Ok(if takes_over { End::TakeOver } else { End::Vanish });
                }
                () = ended(end) => break,
            }
        }
        self.wait_for_answer(session, &mut changes).await?;
        Ok(End::Over)
    }

    /// What was asked before the end is still answered, if it does not take long.
    async fn wait_for_answer(
        &mut self,
        session: &mut Session,
        changes: &mut Vec<Change>,
    ) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + LAST_ANSWER;
        while self.pending.is_some() {
            tokio::select! {
                incoming = session.next(changes) => match incoming? {
                    Some(Incoming::Control(body)) => {
                        self.told(session, *body)?;
                    }
                    Some(Incoming::Changes) => {}
                    None => anyhow::bail!("the node hung up"),
                },
                () = sleep_until(deadline) => break,
            }
        }
        Ok(())
    }

    /// Notes what it is shown of the moves of others.
    fn observe(&mut self, own: EntityId, changes: &mut Vec<Change>) {
        let count = changes.len() as u64;
        let window = self.shared.window();
        let mut meters = self.shared.meters();
        if let Some(meters) = &mut meters {
            meters.decoded += count;
        }
        for change in changes.drain(..) {
            let (id, at, turned) = match change {
                Change::Turned(id, at) => (id, at, true),
                Change::Entered(id, at) => (id, at, false),
                _ => continue,
            };
            if id == own {
                continue;
            }
            if let Some((number, sent)) = self.shared.ledger.find(id, at)
                && window.holds(sent)
                && (self.shared.plan.forgetful || self.log.received.insert(number))
                && turned
                && let Some(meters) = &mut meters
            {
                let staleness = sent.elapsed().as_millis() as u64;
                meters.staleness_ms.saturating_record(staleness);
            }
        }
    }

    /// Once a second: what came, who is in sight, and whether one of them is where it truly is.
    fn sample(&mut self, session: &Session) {
        let count = session.view.entities().len();
        let traffic = session.view.traffic();
        let before = std::mem::replace(&mut self.counted, traffic);
        let now = session.island_now();
        let chunk = session.path.position_at(now).chunk();
        let crossed = self.chunk.replace(chunk).is_some_and(|old| old != chunk);
        let Some(mut meters) = self.shared.meters() else { return };
        meters.frames += traffic.frames - before.frames;
        meters.frame_bytes += traffic.frame_bytes - before.frame_bytes;
        meters.snapshots += traffic.snapshots - before.snapshots;
        meters.snapshot_bytes += traffic.snapshot_bytes - before.snapshot_bytes;
        let second = SAMPLE_EVERY.as_millis() as u64;
        // The own avatar is in sight, too.
        meters.neighbour_ms += count.saturating_sub(1) as u64 * second;
        meters.player_ms += second;
        meters.crossings += u64::from(crossed);
        if count == 0 {
            return;
        }
        let pick = self.rng.next_u32() as usize % count;
        let Some(seen) = session.view.entities().nth(pick) else { return };
        if let Some(truth) = self.shared.ledger.truth(seen.id) {
            let (shown, is) = (seen.trajectory.position_at(now), truth.position_at(now));
            let error_cm = (shown.distance_squared(is) as f64).sqrt() * 100.0 / 64.0;
            meters.error_cm.saturating_record(error_cm as u64);
        }
    }

    /// Looks around for people near who are not shown.
    fn look(&mut self, session: &Session) {
        let now = session.island_now();
        let here = session.path.position_at(now);
        let others = self.shared.ledger.places(now);
        let seen: HashSet<EntityId> = session.view.entities().map(|seen| seen.id).collect();
        let look =
            self.visibility_check.look(Instant::now(), (session.avatar, here), &others, &seen);
        if let Some(mut meters) = self.shared.meters() {
            meters.looks += 1;
            meters.near += look.near;
            meters.missing += look.missing;
        }
    }

    /// Takes in a control message; returns when to decide next, if that has changed.
    fn told(
        &mut self,
        session: &Session,
        body: server_message::Body,
    ) -> anyhow::Result<Option<Duration>> {
        match body {
            server_message::Body::Outcome(outcome) if outcome.sequence > 0 => {
                self.outcome(session, &outcome).map(Some)
            }
            server_message::Body::MoveRefused(refused) => {
                let number = self.own_moves.remove(&refused.number);
                self.shared.ledger.corrected(session.avatar, &session.path, number);
                self.note_path(session);
                self.target = None;
                self.heading = None;
                Ok(Some(Duration::from_millis(300)))
            }
            // It is asked for again.
            server_message::Body::Content(content) if !content.code.is_empty() => Ok(None),
            server_message::Body::Content(content) => {
                if content.hash == session.welcome.manifest {
                    self.manifest = Manifest::decode(&content.data).ok();
                }
                let mut tiles = self.shared.tiles.lock().unwrap_or_else(PoisonError::into_inner);
                tiles.insert(content.hash, content.data);
                Ok(None)
            }
            server_message::Body::Closing(closing) => anyhow::bail!("closed: {}", closing.code),
            _ => Ok(None),
        }
    }

    fn outcome(&mut self, session: &Session, outcome: &Outcome) -> anyhow::Result<Duration> {
        let Some(pending) = self.pending.take_if(|it| it.sequence == outcome.sequence) else {
            return Ok(Duration::from_millis(500));
        };
        if outcome.code == "unavailable" {
            self.pending = Some(Pending { is_open: true, ..pending });
            return Ok(Duration::from_millis(500));
        }
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
            meters.latency_ms.saturating_record(pending.sent.elapsed().as_millis() as u64);
        }
        self.sequence = outcome.sequence;
        if let Some(journal) = &self.shared.journal {
            journal.write(&Line {
                name: self.name.clone(),
                avatar: session.avatar,
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

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
