//! What operators may set: defaults, then a file, then the environment, then flags.
//!
//! A file is TOML. The environment names a key by `PELAGO_` and its path joined by `__`: `PELAGO_LIMITS__IDLE_MS`.

use anyhow::{Context, Result, bail};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use pelago_admin::{RetentionConfig, SinkConfig};
use pelago_model::{Allowance, ByOrigin};
use pelago_net::{CrowdLimits, TrustedProxies};
use pelago_node::{AddressLimits, ClientLimits, MAX_BATCH_TURNS};
use pelago_runtime::{ConnectionLimits, NodeLimits};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// The configuration of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) store: StoreConfig,
    pub(crate) limits: LimitsConfig,
    pub(crate) http: HttpConfig,
    pub(crate) proxies: ProxiesConfig,
    /// What follows the store's feed, as `docs/operating/sink.md` describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sink: Option<SinkConfig>,
    /// What is removed by age, as `docs/store.md` describes it.
    #[serde(default)]
    pub(crate) retention: RetentionConfig,
}

/// Where the world is kept.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreConfig {
    /// As `--store`. It may hold a password, which a command line would show to everybody on the machine.
    pub(crate) address: Option<String>,
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig").finish_non_exhaustive()
    }
}

/// By which names the server may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpConfig {
    /// Hosts beside those of this machine, without ports: of all listeners, that for WebSocket included.
    pub(crate) allowed_hosts: Vec<String>,
}

/// Through which proxies clients come, as `docs/operating/proxies.md` describes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProxiesConfig {
    /// Addresses and networks of proxies that are believed when they say whose connections they make.
    trusted: Vec<String>,
    /// Whether they say so by the PROXY protocol on the listeners for clients. In HTTP, `X-Forwarded-For` says it.
    proxy_protocol: bool,
}

impl ProxiesConfig {
    pub(crate) fn trusted(&self) -> Result<TrustedProxies> {
        if self.proxy_protocol && self.trusted.is_empty() {
            bail!("proxies.proxy_protocol: name the proxies that speak it in proxies.trusted");
        }
        TrustedProxies::new(self.trusted.iter().map(String::as_str), self.proxy_protocol)
            .context("proxies.trusted")
    }
}

/// The limits that `docs/limits.md` describes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsConfig {
    /// Of a node at once.
    pub(crate) clients: usize,
    hello_ms: u32,
    idle_ms: u32,
    blocked_ms: u32,
    message_ms: u32,
    send_buffer_bytes: u32,
    /// Turns of one commit of a steward.
    batch_turns: u32,
    messages: Rate,
    durable: Rate,
    live: Rate,
    speech: Rate,
    moves: Rate,
    pings: Rate,
    fetches: Rate,
    account_logins: Rate,
    address_connections: usize,
    address_strangers: usize,
    address_connects: Rate,
    address_logins: Rate,
    address_names: MinuteRate,
    address_tokens: MinuteRate,
    /// Whether addresses of this machine may do far more.
    wide_loopback: bool,
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    per_second: u32,
    burst: u32,
}

impl Rate {
    const fn allowance(self) -> Allowance {
        Allowance::new(self.per_second, self.burst)
    }
}

/// How often something may happen that happens seldom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct MinuteRate {
    per_minute: u32,
    burst: u32,
}

impl MinuteRate {
    const fn allowance(self) -> Allowance {
        Allowance::per_minute(self.per_minute, self.burst)
    }
}

impl From<Allowance> for MinuteRate {
    fn from(Allowance { per_second, burst }: Allowance) -> Self {
        Self { per_minute: per_second, burst: burst / Allowance::MINUTE_COST }
    }
}

impl From<MinuteRate> for Rate {
    fn from(MinuteRate { per_minute, burst }: MinuteRate) -> Self {
        Self { per_second: per_minute, burst }
    }
}

impl From<Allowance> for Rate {
    fn from(Allowance { per_second, burst }: Allowance) -> Self {
        Self { per_second, burst }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let NodeLimits { max_clients, batch_turns, clients, connections, crowd } =
            NodeLimits::default();
        let (of_address, crowd) = (clients.of_address.others, crowd.others);
        let ms = |ms: i64| u32::try_from(ms).unwrap_or(u32::MAX);
        Self {
            clients: max_clients,
            hello_ms: ms(clients.hello_ms),
            idle_ms: ms(clients.idle_ms),
            blocked_ms: ms(clients.blocked_ms),
            message_ms: ms(connections.message_timeout.as_millis() as i64),
            send_buffer_bytes: u32::try_from(connections.send_buffer_bytes).unwrap_or(u32::MAX),
            batch_turns: batch_turns as u32,
            messages: connections.messages.into(),
            durable: clients.durable.into(),
            live: clients.live.into(),
            speech: clients.speech.into(),
            moves: clients.moves.into(),
            pings: clients.pings.into(),
            fetches: connections.fetches.into(),
            account_logins: clients.account_logins.into(),
            address_connections: crowd.connections,
            address_strangers: crowd.strangers,
            address_connects: crowd.connects.into(),
            address_logins: of_address.logins.into(),
            address_names: of_address.names.into(),
            address_tokens: of_address.wrong_tokens.into(),
            wide_loopback: true,
        }
    }
}

impl Config {
    /// Reads the configuration: the file, if one is given, and the environment.
    ///
    /// # Errors
    /// Names the key and where it was set.
    pub(crate) fn read(file: Option<&Path>) -> Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            if !file.is_file() {
                bail!("--config: there is no file {}", file.display());
            }
            figment = figment.merge(Toml::file(file));
        }
        // Other variables of this prefix are not settings.
        let sections = ["http__", "limits__", "proxies__", "retention__", "sink__", "store__"];
        let environment = Env::prefixed("PELAGO_")
            .filter(move |key| sections.iter().any(|section| key.starts_with(section)));
        let config: Self =
            figment.merge(environment.split("__")).extract().context("the configuration")?;
        config.limits.check()?;
        config.proxies.trusted().context("the configuration")?;
        config.retention.check().context("the configuration")?;
        config.sink.as_ref().map_or(Ok(()), SinkConfig::check).context("the configuration")?;
        Ok(config)
    }
}

impl LimitsConfig {
    fn check(&self) -> Result<()> {
        for (key, rate) in [
            ("messages", self.messages),
            ("durable", self.durable),
            ("live", self.live),
            ("speech", self.speech),
            ("moves", self.moves),
            ("pings", self.pings),
            ("fetches", self.fetches),
            ("account_logins", self.account_logins),
            ("address_connects", self.address_connects),
            ("address_logins", self.address_logins),
            ("address_names", self.address_names.into()),
            ("address_tokens", self.address_tokens.into()),
        ] {
            if rate.per_second == 0 || rate.burst == 0 {
                bail!(
                    "the configuration: limits.{key} allows nothing: both numbers are at least 1"
                );
            }
        }
        for (key, most) in [
            ("clients", self.clients),
            ("hello_ms", self.hello_ms as usize),
            ("idle_ms", self.idle_ms as usize),
            ("message_ms", self.message_ms as usize),
            ("send_buffer_bytes", self.send_buffer_bytes as usize),
            ("address_connections", self.address_connections),
            ("address_strangers", self.address_strangers),
        ] {
            if most == 0 {
                bail!("the configuration: limits.{key} lets nobody in: it is at least 1");
            }
        }
        if !(1..=MAX_BATCH_TURNS).contains(&(self.batch_turns as usize)) {
            bail!("the configuration: limits.batch_turns is from 1 to {MAX_BATCH_TURNS}");
        }
        Ok(())
    }

    /// Those of a node.
    pub(crate) fn of_node(&self) -> NodeLimits {
        let of_address = AddressLimits {
            logins: self.address_logins.allowance(),
            names: self.address_names.allowance(),
            wrong_tokens: self.address_tokens.allowance(),
        };
        let crowd = CrowdLimits {
            connections: self.address_connections,
            strangers: self.address_strangers,
            connects: self.address_connects.allowance(),
        };
        let wide = self.wide_loopback;
        NodeLimits {
            max_clients: self.clients,
            batch_turns: self.batch_turns as usize,
            clients: ClientLimits {
                hello_ms: self.hello_ms.into(),
                idle_ms: self.idle_ms.into(),
                blocked_ms: self.blocked_ms.into(),
                durable: self.durable.allowance(),
                live: self.live.allowance(),
                speech: self.speech.allowance(),
                moves: self.moves.allowance(),
                pings: self.pings.allowance(),
                account_logins: self.account_logins.allowance(),
                of_address: ByOrigin {
                    loopback: if wide { AddressLimits::LOOPBACK } else { of_address },
                    others: of_address,
                },
            },
            crowd: ByOrigin {
                loopback: if wide { CrowdLimits::LOOPBACK } else { crowd },
                others: crowd,
            },
            connections: ConnectionLimits {
                messages: self.messages.allowance(),
                fetches: self.fetches.allowance(),
                message_timeout: Duration::from_millis(self.message_ms.into()),
                send_buffer_bytes: self.send_buffer_bytes as usize,
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(Some(file.path()))
    }

    #[test]
    fn what_a_file_does_not_name_is_as_by_default() {
        let config = read("[limits]\nidle_ms = 5\nmoves = { burst = 3 }\n").unwrap();
        let limits = config.limits.of_node().clients;
        let default = ClientLimits::default();
        assert_eq!((limits.idle_ms, limits.hello_ms), (5, default.hello_ms));
        assert_eq!(limits.moves, Allowance::new(default.moves.per_second, 3));
        assert_eq!(read("").unwrap(), Config::default());
    }

    #[test]
    fn addresses_of_this_machine_may_do_more_unless_told_otherwise() {
        let text = "[limits]\naddress_names = { per_minute = 1, burst = 2 }\n";
        let of = |text: &str| read(text).unwrap().limits.of_node();
        let limits = of(text).clients.of_address;
        assert_eq!(limits.loopback, AddressLimits::LOOPBACK);
        assert_eq!(limits.others.names, Allowance::per_minute(1, 2));
        let narrow = of(&format!("{text}wide_loopback = false\n"));
        assert_eq!(narrow.clients.of_address.loopback.names, Allowance::per_minute(1, 2));
        assert_eq!(narrow.crowd.loopback, CrowdLimits::OTHERS);
    }

    #[test]
    fn an_error_names_the_key_and_the_file() {
        for (text, expected) in [
            ("[limits]\nidle_mss = 5\n", "idle_mss"),
            ("[limits]\nidle_ms = \"long\"\n", "limits.idle_ms"),
            ("[limits.moves]\nburst = -1\n", "limits.moves.burst"),
            ("[limits.speech]\nburst = 0\n", "limits.speech"),
            ("[limits.address_names]\nper_minute = 0\n", "limits.address_names"),
            ("[limits]\naddress_strangers = 0\n", "limits.address_strangers"),
            ("[limits]\nbatch_turns = 0\n", "limits.batch_turns"),
            ("[limits]\nbatch_turns = 32\n", "limits.batch_turns"),
            ("[retention]\naudit_days = 0\n", "retention.audit_days"),
            ("[retention]\naudit = 3\n", "audit"),
            ("[limit]\n", "limit"),
            ("[sink]\nfile = \"a\"\nhttp = \"http://b\"\n", "sink.file"),
            ("[sink]\nfile = \"a\"\nbatch = 0\n", "sink.batch"),
            ("[sink]\nfiles = \"a\"\n", "files"),
            ("[proxies]\ntrusted = [\"10.0.0.0/33\"]\n", "proxies.trusted"),
            ("[proxies]\nproxy_protocol = true\n", "proxies.proxy_protocol"),
            ("[http]\nallowed_host = []\n", "allowed_host"),
            ("limits = ]", "TOML parse error"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(expected), "{text:?}: {error}");
            let later = ["speech", "sink", "batch", "proxies", "address", "audit_days"];
            if !later.iter().any(|later| expected.contains(later)) {
                assert!(error.contains(".toml"), "{text:?}: {error}");
            }
        }
        let error = Config::read(Some(Path::new("nowhere.toml"))).unwrap_err().to_string();
        assert!(error.contains("nowhere.toml"), "{error}");
    }

    #[test]
    fn an_address_is_not_shown() {
        let config = read("[store]\naddress = \"postgres://pelago:hunter2@db/world\"\n").unwrap();
        assert!(config.store.address.as_deref().is_some_and(|address| address.ends_with("/world")));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    /// `1,000` as the page writes it.
    fn with_commas(number: u64) -> String {
        let digits = number.to_string();
        let head = digits.len() % 3;
        let (head, tail) = digits.split_at(head);
        let groups = tail.as_bytes().chunks(3).map(|group| std::str::from_utf8(group).unwrap());
        let parts: Vec<&str> =
            [head].into_iter().filter(|it| !it.is_empty()).chain(groups).collect();
        parts.join(",")
    }

    #[test]
    fn the_page_names_every_key_with_its_default() {
        let page = include_str!("../../../docs/limits.md");
        let limits = serde_json::to_value(LimitsConfig::default()).unwrap();
        for (key, value) in limits.as_object().unwrap() {
            let quoted = format!("`limits.{key}`");
            let row = page.lines().find(|line| line.contains(&quoted)).expect(key);
            let in_seconds = |ms: u64| format!("{} s", ms / 1000);
            let expected = match (value.as_u64(), key.as_str()) {
                (Some(ms), key) if key.ends_with("_ms") => vec![in_seconds(ms)],
                (Some(bytes), key) if key.ends_with("_bytes") => {
                    vec![format!("{} KiB", bytes / 1024)]
                }
                (Some(number), _) => vec![with_commas(number)],
                (None, "wide_loopback") => vec!["true".to_owned()],
                (None, _) if !value["per_minute"].is_null() => vec![
                    format!("{} in a minute", value["per_minute"]),
                    format!("{} at once", value["burst"]),
                ],
                (None, "fetches") => vec!["512 KiB".to_owned(), "4 MiB".to_owned()],
                (None, _) => vec![
                    format!("{} in a second", value["per_second"]),
                    format!("{} at once", value["burst"]),
                ],
            };
            for text in expected {
                assert!(row.contains(&text), "{key} is {value}, not as in {row}");
            }
        }
        for quoted in page.split('`').filter(|text| text.starts_with("limits.")) {
            assert!(limits.get(&quoted["limits.".len()..]).is_some(), "there is no key {quoted}");
        }
    }
}
