//! One bot: a session, a will, and a log.

use super::verify::Line;
use super::{Behavior, Shared};
use crate::session::{Incoming, Session};
use crate::tiles::{Manifest, Natural, decode_naturals};
use crate::view::Change;
use bytes::Bytes;
use hdrhistogram::Histogram;
use pelago_model::{ChunkId, EntityId, IslandTime, Position, Trajectory};
use pelago_wire::client::{Arrival, Outcome, server_message};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

/// The mean time between turns of a wanderer, in ms.
const TURN_MEAN_MS: f64 = 4000.0;
/// The walking speed, in 1/64 m per second: 4 m/s.
const SPEED: u16 = 256;
/// How near a bot goes to what it gathers from, in 1/64 m.
const NEAR_UNITS: i32 = 96;
/// How far a bot goes for something to gather, in 1/64 m.
const FAR_UNITS: u64 = 1920;
/// How often a bot compares what it sees with the truth, and asks for the time.
const SAMPLE_EVERY: Duration = Duration::from_millis(1000);

/// How long a bot waits for its last answer.
const LAST_ANSWER: Duration = Duration::from_secs(3);

/// What a bot has to tell in the end.
pub(super) struct BotLog {
    pub(super) entity: Option<EntityId>,
    /// The paths it took, in the order of their starts.
    pub(super) paths: Vec<Trajectory>,
    /// The spans of island time in which it was connected.
    pub(super) connected: Vec<(IslandTime, IslandTime)>,
    /// Numbers of the moves of others that it was shown.
    pub(super) received: HashSet<u32>,
    pub(super) decoded: u64,
    pub(super) bytes: u64,
    pub(super) gaps: u64,
    pub(super) staleness_ms: Histogram<u64>,
    pub(super) error_cm: Histogram<u64>,
    pub(super) latency_ms: Histogram<u64>,
    pub(super) longest_gap: Duration,
    pub(super) refusals: u64,
    pub(super) disconnections: u64,
    pub(super) sent: u64,
    pub(super) acked: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
}

impl BotLog {
    fn new() -> Self {
        // Two significant digits suffice; values beyond the bound saturate.
        let histogram = || Histogram::new_with_max(600_000, 2).expect("a valid histogram");
        Self {
            entity: None,
            paths: Vec::new(),
            connected: Vec::new(),
            received: HashSet::new(),
            decoded: 0,
            bytes: 0,
            gaps: 0,
            staleness_ms: histogram(),
            error_cm: histogram(),
            latency_ms: histogram(),
            longest_gap: Duration::ZERO,
            refusals: 0,
            disconnections: 0,
            sent: 0,
            acked: 0,
            refused: 0,
            lost: 0,
        }
    }
}

struct Pending {
    sequence: u64,
    payload: Bytes,
    sent: Instant,
}

struct Bot {
    shared: Arc<Shared>,
    name: String,
    rng: ChaCha8Rng,
    gathers: bool,
    log: BotLog,
    sequence: u64,
    pending: Option<Pending>,
    manifest: Option<Manifest>,
    target: Option<(ChunkId, u16)>,
    /// What was found empty lately.
    avoided: BTreeMap<(ChunkId, u16), Instant>,
    own_moves: BTreeMap<u32, u32>,
}

/// Plays until the end.
pub(super) async fn run(
    shared: Arc<Shared>,
    number: usize,
    mut end: watch::Receiver<bool>,
) -> BotLog {
    let plan = &shared.plan;
    let mut bot = Bot {
        name: format!("bot-{}-{number}", plan.seed),
        rng: ChaCha8Rng::seed_from_u64(plan.seed.wrapping_mul(1_000_003) ^ number as u64),
        gathers: match plan.behavior {
            Behavior::Wander => false,
            Behavior::Gather => true,
            Behavior::Mixed => number % 2 == 1,
        },
        log: BotLog::new(),
        sequence: 0,
        pending: None,
        manifest: None,
        target: None,
        avoided: BTreeMap::new(),
        own_moves: BTreeMap::new(),
        shared: shared.clone(),
    };
    let mut attempt = number;
    while !*end.borrow() {
        let address = &plan.addresses[attempt % plan.addresses.len()];
        let opened = Session::open(address, plan.transport, &bot.name, Arrival::Anywhere);
        let session = tokio::select! {
            session = opened => session,
            () = ended(&mut end) => break,
        };
        match session {
            Ok(session) => bot.play(session, &mut end).await,
            Err(error) => {
                tracing::debug!(bot = bot.name, %error, "a bot was not let in");
                bot.log.refusals += 1;
            }
        }
        if !*end.borrow() {
            // Elsewhere, after a moment: the node may be down.
            attempt += 1;
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
    /// Plays on one session until it or the time ends.
    async fn play(&mut self, mut session: Session, end: &mut watch::Receiver<bool>) {
        let from = session.island_now();
        self.log.entity = Some(session.avatar);
        self.shared.ledger.corrected(session.avatar, &session.path, None);
        self.log.paths.push(session.path.clone());
        self.own_moves.clear();
        self.sequence = session.welcome.sequence;
        let finished = self.play_on(&mut session, end).await;
        self.log.connected.push((from, session.island_now()));
        self.log.bytes += session.received();
        self.log.gaps += session.view.gaps();
        self.shared.ledger.left(session.avatar);
        match finished {
            Ok(()) => session.bye().await,
            Err(error) => {
                tracing::debug!(bot = self.name, error = format!("{error:#}"), "a bot was cut off");
                self.log.disconnections += 1;
            }
        }
    }

    async fn play_on(
        &mut self,
        session: &mut Session,
        end: &mut watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        if let Some(pending) = &self.pending {
            // Asked before the connection broke: asking again gives the same answer.
            session.act(pending.sequence, pending.payload.clone()).await?;
        }
        session.ping().await?;
        let mut changes = Vec::new();
        let mut heard = Instant::now();
        let now = tokio::time::Instant::now();
        let mut decide_at = now + Duration::from_millis(u64::from(self.rng.next_u32() % 2000));
        let mut sample_at = now + SAMPLE_EVERY;
        loop {
            tokio::select! {
                incoming = session.next(&mut changes) => {
                    let Some(incoming) = incoming? else { anyhow::bail!("the node hung up") };
                    self.log.longest_gap = self.log.longest_gap.max(heard.elapsed());
                    heard = Instant::now();
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
                () = sleep_until(sample_at) => {
                    sample_at += SAMPLE_EVERY;
                    self.sample(session);
                    session.ping().await?;
                }
                () = ended(end) => break,
            }
        }
        self.wait_for_answer(session, &mut changes).await
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
        self.log.decoded += changes.len() as u64;
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
                && self.log.received.insert(number)
                && turned
            {
                let staleness = sent.elapsed().as_millis() as u64;
                self.log.staleness_ms.saturating_record(staleness);
            }
        }
    }

    /// Compares one of those in sight with where it truly is.
    fn sample(&mut self, session: &Session) {
        let count = session.view.entities().len();
        if count == 0 {
            return;
        }
        let pick = self.rng.next_u32() as usize % count;
        let Some(seen) = session.view.entities().nth(pick) else { return };
        if let Some(truth) = self.shared.ledger.truth(seen.id) {
            let now = session.island_now();
            let (shown, is) = (seen.trajectory.position_at(now), truth.position_at(now));
            let error_cm = (shown.distance_squared(is) as f64).sqrt() * 100.0 / 64.0;
            self.log.error_cm.saturating_record(error_cm as u64);
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
                self.log.paths.push(session.path.clone());
                self.target = None;
                Ok(Some(Duration::from_millis(300)))
            }
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
        if !outcome.code.is_empty() {
            self.log.refused += 1;
            if let Some(target) = self.target.take() {
                self.avoided.insert(target, Instant::now());
            }
            return Ok(Duration::from_millis(500));
        }
        self.log.acked += 1;
        self.log.latency_ms.saturating_record(pending.sent.elapsed().as_millis() as u64);
        self.sequence = outcome.sequence;
        if let Some(journal) = &self.shared.journal {
            journal.write(&Line {
                name: self.name.clone(),
                avatar: session.avatar,
                sequence: outcome.sequence,
                chain: hex(&outcome.chain),
            })?;
        }
        Ok(Duration::from_millis(200 + u64::from(self.rng.next_u32() % 1500)))
    }

    /// Does the next thing; returns for how long.
    async fn decide(&mut self, session: &mut Session) -> anyhow::Result<Duration> {
        if self.pending.is_some() {
            return Ok(Duration::from_millis(500));
        }
        if self.gathers {
            if let Some((chunk, slot)) = self.target
                && !self.rng.next_u32().is_multiple_of(4)
            {
                let payload =
                    format!(r#"{{"gather":{{"x":{},"y":{},"slot":{slot}}}}}"#, chunk.x, chunk.y);
                return self.act(session, payload).await;
            }
            if self.rng.next_u32().is_multiple_of(5) && self.sequence > 0 {
                return self.act(session, r#"{"eat":{"item":"berry"}}"#.to_owned()).await;
            }
            if let Some(wait) = self.seek(session).await? {
                return Ok(wait);
            }
        }
        self.wander(session).await
    }

    async fn act(&mut self, session: &mut Session, payload: String) -> anyhow::Result<Duration> {
        let payload = Bytes::from(payload);
        let sequence = self.sequence + 1;
        self.log.sent += 1;
        self.pending = Some(Pending { sequence, payload: payload.clone(), sent: Instant::now() });
        session.act(sequence, payload).await?;
        Ok(Duration::from_secs(1))
    }

    async fn wander(&mut self, session: &mut Session) -> anyhow::Result<Duration> {
        let angle = self.unit() * std::f64::consts::TAU;
        // Far enough that most turns come before the end of the way.
        let length = (8.0 + self.unit() * 24.0) * 64.0;
        let here = session.path.position_at(session.island_now());
        let (dx, dy) = (angle.cos() * length, angle.sin() * length);
        let there = Position::new(here.x + dx as i32, here.y + dy as i32);
        self.walk(session, there).await?;
        let wait = -self.unit().max(1e-9).ln() * TURN_MEAN_MS;
        Ok(Duration::from_millis((wait as u64).clamp(250, 30_000)))
    }

    async fn walk(&mut self, session: &mut Session, there: Position) -> anyhow::Result<()> {
        session.walk(SPEED, &[there]).await?;
        let number = self.shared.ledger.moved(session.avatar, &session.path);
        self.own_moves.insert(session.moves(), number);
        self.log.paths.push(session.path.clone());
        Ok(())
    }

    /// Walks to something to gather from, if there is anything near.
    async fn seek(&mut self, session: &mut Session) -> anyhow::Result<Option<Duration>> {
        let here = session.path.position_at(session.island_now());
        let chunk = here.chunk();
        let Some(naturals) = self.naturals(session, chunk).await? else {
            return Ok(Some(Duration::from_millis(200)));
        };
        self.avoided.retain(|_, since| since.elapsed() < Duration::from_secs(30));
        let near: Vec<(u16, Natural)> = (0u16..)
            .zip(naturals)
            .filter(|(slot, natural)| {
                natural.position.distance_squared(here) < FAR_UNITS.pow(2)
                    && !self.avoided.contains_key(&(chunk, *slot))
            })
            .collect();
        let by_distance = |(_, natural): &&(u16, Natural)| natural.position.distance_squared(here);
        // Mostly the nearest; now and then another, so that bots do not stand in heaps.
        let pick = self.rng.next_u32() as usize;
        let chosen = if pick.is_multiple_of(4) {
            near.get(pick / 4 % near.len().max(1))
        } else {
            near.iter().min_by_key(by_distance)
        };
        let Some((slot, natural)) = chosen.copied() else { return Ok(None) };
        self.target = Some((chunk, slot));
        let distance = (natural.position.distance_squared(here) as f64).sqrt();
        if distance <= f64::from(NEAR_UNITS) {
            return Ok(Some(Duration::from_millis(50)));
        }
        let share = 1.0 - f64::from(NEAR_UNITS) / distance;
        let along = |from: i32, to: i32| from + (f64::from(to - from) * share) as i32;
        let there =
            Position::new(along(here.x, natural.position.x), along(here.y, natural.position.y));
        self.walk(session, there).await?;
        let way = session.path.end_time().since(session.island_now()).max(0);
        Ok(Some(Duration::from_millis(way as u64 + 150)))
    }

    /// The natural objects of a chunk, or `None` while they are being fetched.
    async fn naturals(
        &mut self,
        session: &mut Session,
        chunk: ChunkId,
    ) -> anyhow::Result<Option<Vec<Natural>>> {
        let known = |hash: &Bytes| {
            let tiles = self.shared.tiles.lock().unwrap_or_else(PoisonError::into_inner);
            tiles.get(hash).cloned()
        };
        if self.manifest.is_none() {
            self.manifest =
                known(&session.welcome.manifest).and_then(|bytes| Manifest::decode(&bytes).ok());
        }
        let Some(manifest) = &self.manifest else {
            session.fetch(session.welcome.manifest.clone()).await?;
            return Ok(None);
        };
        let Some(hash) = manifest.tile(chunk) else { return Ok(Some(Vec::new())) };
        match known(&hash) {
            Some(tile) => Ok(Some(decode_naturals(&tile, chunk).unwrap_or_default())),
            None => {
                session.fetch(hash).await?;
                Ok(None)
            }
        }
    }

    /// Between 0 and 1.
    fn unit(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
