//! Scenarios: files that say what bots do, for how long, and which targets are to be reached.

use anyhow::{Context, Result};
use figment::Figment;
use figment::providers::{Format, Toml};
use pelago_bots::{Behavior, Plan};
use pelago_client::Transport;
use pelago_net::Trust;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

/// Units in a metre.
const UNITS_PER_METRE: f64 = 64.0;
/// Addresses of the machine that bots connect from: each has its own 28,000 ports.
const SOURCES: u8 = 16;
/// After how long without a pong a bot gives its connection up: later than players do, because these bots measure servers
/// that have too much to do, and must not add logins to that.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// A file of `bench/scenarios`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// A sentence for the report.
    pub(crate) summary: String,
    pub(crate) world: WorldPart,
    pub(crate) bots: BotsPart,
    pub(crate) time: TimePart,
    /// What is tried in all combinations.
    #[serde(default)]
    pub(crate) vary: Vary,
    /// Whether variants after one that broke are left out.
    #[serde(default)]
    pub(crate) stop_when_broken: bool,
    #[serde(default)]
    pub(crate) targets: Targets,
    /// Abusive guests beside the bots.
    pub(crate) guests: Option<GuestsPart>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorldPart {
    pub(crate) nodes: u16,
    pub(crate) lanes: u8,
    /// Chunks along the side of the island.
    pub(crate) island_size: u16,
    /// Turns of one commit; otherwise as many as by default.
    #[serde(default)]
    pub(crate) batch_turns: Option<u32>,
    /// Tasks of each node over which stewards are spread by key; otherwise one.
    #[serde(default)]
    pub(crate) services: Option<u8>,
    #[serde(default)]
    pub(crate) store: Engine,
}

/// Where the world is kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    #[default]
    Embedded,
    /// In a PostgreSQL that runs for the measurement, on any core.
    Postgres,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Does {
    Wander,
    Gather,
    Cross,
    Feed,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Over {
    Tcp,
    Websocket,
    /// TLS over TCP.
    Tls,
    /// WebSocket within TLS.
    Wss,
}

impl Over {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Websocket => "WebSocket",
            Self::Tls => "TLS",
            Self::Wss => "WebSocket within TLS",
        }
    }

    /// Whether the server has to be started with TLS.
    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BotsPart {
    pub(crate) count: usize,
    pub(crate) does: Does,
    #[serde(default = "four")]
    pub(crate) speed_metres_per_second: f64,
    #[serde(default = "four")]
    pub(crate) turn_mean_seconds: f64,
    /// Those who gather or feed do it this often.
    pub(crate) gather_seconds: Option<f64>,
    /// What everybody is granted on arrival.
    #[serde(default)]
    pub(crate) wood: Option<u32>,
    /// How far from the middle of the island they go; otherwise anywhere.
    pub(crate) radius_metres: Option<f64>,
    #[serde(default = "over_tcp")]
    pub(crate) over: Over,
    /// Whether they look out for people who are missing.
    #[serde(default)]
    pub(crate) look_out: bool,
}

fn four() -> f64 {
    4.0
}

fn over_tcp() -> Over {
    Over::Tcp
}

/// Abusive guests, measured beside an undisturbed run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuestsPart {
    /// Of each kind.
    pub(crate) of_each: usize,
    /// Readers that read nothing.
    pub(crate) blocked: usize,
    /// HTTP connections of one address that ask for nothing.
    pub(crate) idle_http: usize,
    /// The bots' staleness p99 with guests over that without.
    pub(crate) staleness_ratio: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimePart {
    pub(crate) settle_seconds: u64,
    pub(crate) measure_seconds: u64,
    /// For the baseline; 0: without it.
    pub(crate) record_seconds: u64,
}

/// What replaces values of the scenario; empty: as it says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Vary {
    lanes: Vec<u8>,
    count: Vec<usize>,
    speed_metres_per_second: Vec<f64>,
    over: Vec<Over>,
    gather_seconds: Vec<f64>,
    batch_turns: Vec<u32>,
    services: Vec<u8>,
    store: Vec<Engine>,
}

/// What is to be reached. What is not named is only reported.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Targets {
    pub(crate) staleness_p99_ms: Option<u64>,
    pub(crate) position_error_p99_metres: Option<f64>,
    pub(crate) bytes_per_neighbour_second: Option<f64>,
    pub(crate) acknowledged_p99_ms: Option<u64>,
    pub(crate) baseline_ratio: Option<f64>,
    pub(crate) kibibytes_per_player: Option<f64>,
    /// Whether nobody may be missing, and nothing lost.
    pub(crate) nothing_missing: bool,
}

/// One run of a scenario.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Variant {
    pub(crate) world: WorldPart,
    pub(crate) bots: BotsPart,
    pub(crate) time: TimePart,
}

impl Scenario {
    /// Reads a file. An error names the file and the key.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("no scenario {}", path.display()))?;
        Figment::from(Toml::string(&text))
            .extract()
            .with_context(|| format!("scenario {}", path.display()))
    }

    /// All combinations of what varies.
    pub(crate) fn variants(&self) -> Vec<Variant> {
        let Self { world, bots, time, vary, .. } = self;
        let first = Variant { world: world.clone(), bots: bots.clone(), time: time.clone() };
        let mut all = vec![first];
        vary_by(&mut all, &vary.over, |variant, over| variant.bots.over = over);
        vary_by(&mut all, &vary.count, |variant, count| variant.bots.count = count);
        vary_by(&mut all, &vary.speed_metres_per_second, |variant, speed| {
            variant.bots.speed_metres_per_second = speed;
        });
        vary_by(&mut all, &vary.store, |variant, store| variant.world.store = store);
        vary_by(&mut all, &vary.lanes, |variant, lanes| variant.world.lanes = lanes);
        vary_by(&mut all, &vary.gather_seconds, |variant, seconds| {
            variant.bots.gather_seconds = Some(seconds);
        });
        vary_by(&mut all, &vary.batch_turns, |variant, turns| {
            variant.world.batch_turns = Some(turns);
        });
        vary_by(&mut all, &vary.services, |variant, tasks| variant.world.services = Some(tasks));
        all
    }
}

fn vary_by<T: Copy>(all: &mut Vec<Variant>, values: &[T], set: impl Fn(&mut Variant, T)) {
    if values.is_empty() {
        return;
    }
    let varied = |variant: &Variant| {
        let each = values.iter().map(|value| {
            let mut variant = variant.clone();
            set(&mut variant, *value);
            variant
        });
        each.collect::<Vec<_>>()
    };
    *all = all.iter().flat_map(varied).collect();
}

impl Variant {
    /// In a few words.
    pub(crate) fn label(&self) -> String {
        let (bots, world, over) = (&self.bots, &self.world, self.bots.over.name());
        let every = bots.gather_seconds.map(|it| format!(", a command every {it} s"));
        let turns = world.batch_turns.map(|it| format!(", {it} turns per commit"));
        let services = world.services.map(|it| format!(", stewards on {it} tasks"));
        format!(
            "{} bots at {} m/s over {over}, {} nodes of {} lanes{}{}{}{}",
            bots.count,
            bots.speed_metres_per_second,
            world.nodes,
            world.lanes,
            every.unwrap_or_default(),
            turns.unwrap_or_default(),
            services.unwrap_or_default(),
            self.kept(),
        )
    }

    /// In fewer: how many, and what may differ within a scenario.
    pub(crate) fn short_label(&self) -> String {
        let (bots, over) = (&self.bots, self.bots.over.name());
        format!("{} at {} m/s, {over}{}", bots.count, bots.speed_metres_per_second, self.kept())
    }

    fn kept(&self) -> &'static str {
        match self.world.store {
            Engine::Embedded => "",
            Engine::Postgres => ", in PostgreSQL",
        }
    }

    /// The bots' side of it. A server that speaks TLS names the fingerprint of its certificate.
    ///
    /// # Errors
    /// If it should speak TLS and named none.
    pub(crate) fn plan(&self, addresses: Vec<String>, fingerprint: Option<&str>) -> Result<Plan> {
        let bots = &self.bots;
        let behavior = match bots.does {
            Does::Wander => Behavior::Wander,
            Does::Gather => Behavior::Gather,
            Does::Cross => Behavior::Cross,
            Does::Feed => Behavior::Feed,
        };
        let source = |last: u8| IpAddr::V4(Ipv4Addr::new(127, 0, 1, last));
        let trust = || {
            let fingerprint = fingerprint.context("the server has no certificate")?;
            anyhow::Ok(Trust::fingerprint(fingerprint.parse()?)?)
        };
        Ok(Plan {
            transport: match bots.over {
                Over::Tcp => Transport::Tcp,
                Over::Websocket => Transport::WebSocket,
                Over::Tls => Transport::Tls(trust()?),
                Over::Wss => Transport::WebSocketTls(trust()?),
            },
            speed: (bots.speed_metres_per_second * UNITS_PER_METRE) as u16,
            turn_mean: Duration::from_secs_f64(bots.turn_mean_seconds),
            gather_every: bots.gather_seconds.map(Duration::from_secs_f64),
            radius: bots.radius_metres.map(|radius| (radius * UNITS_PER_METRE) as u32),
            sources: (1..=SOURCES).map(source).collect(),
            watch_missing: bots.look_out,
            pong_timeout: PONG_TIMEOUT,
            ..Plan::new(addresses, bots.count, behavior)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_repository_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("the folder") {
            let scenario = Scenario::read(&entry.expect("an entry").path()).expect("a scenario");
            assert!(!scenario.summary.is_empty());
            assert!(!scenario.variants().is_empty());
            count += 1;
        }
        assert_eq!(count, 12);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let text = "summary = 'x'\n[world]\nnodes = 1\nlanes = 1\nisland_size = 3\nspeed = 7\n";
        let error = Figment::from(Toml::string(text)).extract::<Scenario>().unwrap_err();
        assert!(error.to_string().contains("speed"), "{error}");
    }
}
