//! What a bot wants: the next step, and when it comes.

use crate::Behavior;
use crate::bot::Bot;
use bytes::Bytes;
use pelago_client::Session;
use pelago_client::tiles::{Manifest, Natural, decode_naturals};
use pelago_model::{ChunkId, Position};
use rand_chacha::rand_core::Rng;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// How near a bot goes to what it gathers from, in 1/64 m.
const NEAR_UNITS: i32 = 96;
/// How far a bot goes for something to gather, in 1/64 m.
const FAR_UNITS: u64 = 1920;
/// How far ahead those who walk straight on plan, in 1/64 m: 60 m.
const STRIDE_UNITS: f64 = 60.0 * 64.0;

impl Bot {
    /// Does the next thing; returns for how long.
    pub(crate) async fn decide(&mut self, session: &mut Session) -> Duration {
        if session.is_acting() {
            return Duration::from_millis(500);
        }
        if self.shared.plan.behavior == Behavior::Cross {
            return self.cross(session).await;
        }
        if self.shared.plan.behavior == Behavior::Feed {
            return self.feed(session).await;
        }
        if self.gathers {
            let early = self.gather_at.saturating_duration_since(Instant::now());
            if self.target.is_some() && !early.is_zero() {
                return early;
            }
            if let Some((chunk, slot)) = self.target
                && (self.shared.plan.gather_every.is_some()
                    || !self.rng.next_u32().is_multiple_of(4))
            {
                if let Some(period) = self.shared.plan.gather_every {
                    self.gather_at = (self.gather_at + period).max(Instant::now());
                }
                let payload =
                    format!(r#"{{"gather":{{"x":{},"y":{},"slot":{slot}}}}}"#, chunk.x, chunk.y);
                return self.act(session, payload).await;
            }
            if self.rng.next_u32().is_multiple_of(5) && session.sequence() > 0 {
                return self.act(session, r#"{"eat":{"item":"berry"}}"#.to_owned()).await;
            }
            if let Some(wait) = self.seek(session).await {
                return wait;
            }
        }
        self.wander(session).await
    }

    async fn act(&mut self, session: &mut Session, payload: String) -> Duration {
        if session.act(Bytes::from(payload)).await.is_ok() {
            self.acted = Some(Instant::now());
            if let Some(mut meters) = self.shared.meters() {
                meters.sent += 1;
            }
        }
        Duration::from_secs(1)
    }

    async fn wander(&mut self, session: &mut Session) -> Duration {
        let here = session.path().position_at(session.island_now());
        let mean_ms = self.shared.plan.turn_mean.as_millis() as f64;
        let wait = -self.unit().max(1e-9).ln() * mean_ms;
        let there = match (self.shared.plan.radius, self.home) {
            // Anywhere within: the way leads across it.
            (Some(radius), Some(home)) => {
                let (angle, share) = (self.unit() * std::f64::consts::TAU, self.unit().sqrt());
                offset(home, angle, share * f64::from(radius))
            }
            _ => {
                let angle = self.unit() * std::f64::consts::TAU;
                // Far enough that most turns come before the end of the way.
                offset(here, angle, (8.0 + self.unit() * 24.0) * 64.0)
            }
        };
        self.walk(session, there).await;
        Duration::from_millis((wait as u64).clamp(250, 30_000))
    }

    /// Walks about the campfire, and feeds it when it is time.
    async fn feed(&mut self, session: &mut Session) -> Duration {
        let Some(manifest) = self.manifest(session).await else {
            return Duration::from_millis(200);
        };
        self.home = Some(manifest.middle());
        if self.turn_at <= Instant::now() {
            self.turn_at = Instant::now() + self.wander(session).await;
        }
        if self.gather_at <= Instant::now() {
            let period = self.shared.plan.gather_every.unwrap_or_default();
            self.gather_at = (self.gather_at + period).max(Instant::now());
            return self.act(session, r#"{"feed":{}}"#.to_owned()).await;
        }
        self.turn_at.min(self.gather_at).saturating_duration_since(Instant::now())
    }

    /// Walks straight on; where that cannot be, another way.
    async fn cross(&mut self, session: &mut Session) -> Duration {
        let here = session.path().position_at(session.island_now());
        let angle = match self.heading {
            Some(angle) => angle,
            None => self.unit() * std::f64::consts::TAU,
        };
        self.heading = Some(angle);
        self.walk(session, offset(here, angle, STRIDE_UNITS)).await;
        // The way is prolonged before it ends, so that nobody stands.
        let way = session.path().end_time().since(session.island_now()).max(0) as u64;
        Duration::from_millis((way * 7 / 8).max(250))
    }

    async fn walk(&mut self, session: &mut Session, there: Position) {
        // A bot that is cut off just now decides again when it is back.
        let Ok(walk) = session.walk(self.shared.plan.speed, &[there]).await else { return };
        let number = self.shared.ledger.moved(session.avatar(), session.path());
        self.own_moves.insert(walk.number, number);
        self.note_path(session);
    }

    /// Walks to something to gather from, if there is anything near.
    async fn seek(&mut self, session: &mut Session) -> Option<Duration> {
        let here = session.path().position_at(session.island_now());
        let chunk = here.chunk();
        let Some(naturals) = self.naturals(session, chunk).await else {
            return Some(Duration::from_millis(200));
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
        let (slot, natural) = chosen.copied()?;
        self.target = Some((chunk, slot));
        let distance = (natural.position.distance_squared(here) as f64).sqrt();
        if distance <= f64::from(NEAR_UNITS) {
            return Some(Duration::from_millis(50));
        }
        let share = 1.0 - f64::from(NEAR_UNITS) / distance;
        let along = |from: i32, to: i32| from + (f64::from(to - from) * share) as i32;
        let there =
            Position::new(along(here.x, natural.position.x), along(here.y, natural.position.y));
        self.walk(session, there).await;
        let way = session.path().end_time().since(session.island_now()).max(0);
        Some(Duration::from_millis(way as u64 + 150))
    }

    /// The natural objects of a chunk, or `None` while they are being fetched.
    async fn naturals(&mut self, session: &mut Session, chunk: ChunkId) -> Option<Vec<Natural>> {
        let manifest = self.manifest(session).await?;
        let Some(hash) = manifest.tile(chunk) else { return Some(Vec::new()) };
        match self.known(&hash) {
            Some(tile) => Some(decode_naturals(&tile, chunk).unwrap_or_default()),
            None => {
                // A fetch that is refused now is asked for again by the next decision.
                session.fetch(hash).await.ok();
                None
            }
        }
    }

    /// The manifest of the island, or `None` while it is being fetched.
    async fn manifest(&mut self, session: &mut Session) -> Option<&Manifest> {
        if self.manifest.is_none() {
            let known = self.known(&session.welcome().manifest);
            self.manifest = known.and_then(|bytes| Manifest::decode(&bytes).ok());
        }
        if self.manifest.is_none() {
            session.fetch(session.welcome().manifest.clone()).await.ok();
        }
        self.manifest.as_ref()
    }

    /// What some bot has fetched.
    fn known(&self, hash: &Bytes) -> Option<Bytes> {
        let tiles = self.shared.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        tiles.get(hash).cloned()
    }

    /// Between 0 and 1.
    pub(crate) fn unit(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }
}

fn offset(from: Position, angle: f64, length: f64) -> Position {
    let along = |from: i32, share: f64| from.saturating_add((share * length) as i32);
    Position::new(along(from.x, angle.cos()), along(from.y, angle.sin()))
}
