//! The hosts of an address: each is tried for a limited time, one after the other.
//!
//! A host that takes a connection and says nothing is worse than one that refuses: without a limit nobody would ever ask
//! the next one. So a limit is on all of looking the name up, connecting, the handshake and the first answer. A host
//! that was silent lately is asked last.

use super::address::Settings;
use super::errors::Failure;
use super::session::Session;
use pelago_model::Backoff;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

/// For how long a host that was silent or refused is asked after all others.
const SUSPECT_FOR: Duration = Duration::from_secs(10);
/// How often the log says that a host cannot be used.
const HINT_EVERY: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried, the first ones.
const MAX_ADDRESSES: usize = 8;
/// The pauses between the tries to reach the database, which end with the engine.
pub(super) const RECONNECT: Backoff =
    Backoff { first_ms: 50, longest_ms: 1000, attempts: Backoff::ENDLESS };

/// The hosts of an address, and which of them could not be used lately.
pub(super) struct Hosts {
    hosts: Vec<HostAddress>,
    starts_anywhere: bool,
    /// Guards what is known of each host, by its number.
    seen: Mutex<Vec<Seen>>,
}

/// One host of an address.
struct HostAddress {
    /// As it may be shown.
    label: String,
    /// What has to be looked up: a name and a port.
    name: Option<(String, u16)>,
    /// The whole address with this host alone.
    config: Config,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    suspected: Option<Instant>,
    hinted: Option<Instant>,
}

impl Hosts {
    pub(super) fn new(config: &Config) -> Self {
        let hosts: Vec<HostAddress> = (0..config.get_hosts().len().max(1))
            .map(|number| HostAddress::of(config, number))
            .collect();
        let seen = Mutex::new(vec![Seen::default(); hosts.len()]);
        let starts_anywhere = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        Self { hosts, starts_anywhere, seen }
    }

    /// Whether there is another one if one fails.
    pub(super) fn has_choice(&self) -> bool {
        self.hosts.len() > 1
    }

    /// Connects to the first that takes writes and answers in time.
    pub(super) async fn open(&self, settings: &Settings) -> Result<Session, Failure> {
        let mut failed: Option<Failure> = None;
        for number in self.in_order() {
            match self.hosts[number].open(number, settings).await {
                Ok(session) => {
                    self.seen()[number].suspected = None;
                    return Ok(session);
                }
                Err(failure) => {
                    self.suspect(number, &failure);
                    // Of several failures the one is told that the database itself has given a reason for.
                    if !failed.as_ref().is_some_and(Failure::is_refusal) {
                        failed = Some(failure);
                    }
                }
            }
        }
        Err(failed.unwrap_or(Failure::Silent))
    }

    /// A host is asked last from now on, because it was silent or is not to be relied on.
    pub(super) fn suspect(&self, number: usize, failure: &Failure) {
        let (now, mut seen) = (Instant::now(), self.seen());
        let Some(host) = seen.get_mut(number) else { return };
        host.suspected = Some(now);
        // That a standby takes no writes is how it should be.
        let is_standby = failure.to_string().contains("does not allow writes");
        let hints = !is_standby && host.hinted.is_none_or(|hinted| now - hinted > HINT_EVERY);
        if hints {
            host.hinted = Some(now);
        }
        drop(seen);
        if hints && self.has_choice() {
            let host = &self.hosts[number].label;
            tracing::warn!(%host, %failure, "a host of the database cannot be used: the next one is tried");
        }
    }

    /// The numbers of all hosts: as they stand in the address, but those last that could not be used lately.
    fn in_order(&self) -> Vec<usize> {
        let (now, seen) = (Instant::now(), self.seen());
        let mut numbers: Vec<usize> = (0..self.hosts.len()).collect();
        if self.starts_anywhere {
            numbers.rotate_left(RandomState::new().hash_one(()) as usize % self.hosts.len());
        }
        let suspected = |number: &usize| seen[*number].suspected;
        numbers.sort_by_key(|number| suspected(number).filter(|at| now - *at < SUSPECT_FOR));
        numbers
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        // Nothing is left half done under the lock.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostAddress {
    fn of(config: &Config, number: usize) -> Self {
        let ports = config.get_ports();
        let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
        let host = config.get_hosts().get(number);
        let address = config.get_hostaddrs().get(number);
        let (label, name) = match host {
            Some(Host::Unix(path)) => (path.display().to_string(), None),
            Some(Host::Tcp(name)) if address.is_none() && name.parse::<IpAddr>().is_err() => {
                (name.clone(), Some((name.clone(), port)))
            }
            Some(Host::Tcp(name)) => (name.clone(), None),
            None => (address.map(IpAddr::to_string).unwrap_or_default(), None),
        };
        let mut alone = without_hosts(config);
        match host {
            Some(Host::Tcp(name)) => {
                alone.host(name);
            }
            Some(Host::Unix(path)) => {
                alone.host_path(path);
            }
            None => {}
        }
        if let Some(address) = address {
            alone.hostaddr(*address);
        }
        alone.port(port);
        Self { label: format!("{label}:{port}"), name, config: alone }
    }

    /// Connects to it, at each of its addresses for as long as the settings allow.
    async fn open(&self, number: usize, settings: &Settings) -> Result<Session, Failure> {
        let limit = settings.connect_timeout;
        let Some((name, port)) = &self.name else {
            return within(limit, Session::open_at(&self.config, number, settings)).await;
        };
        let lookup = async {
            let found = lookup_host((name.as_str(), *port)).await;
            found.map_err(|error| Failure::Odd(format!("error connecting to server: {error}")))
        };
        let mut failed = Failure::Odd(format!("{name} has no address"));
        for address in within(limit, lookup).await?.take(MAX_ADDRESSES) {
            let mut config = self.config.clone();
            config.hostaddr(address.ip());
            match within(limit, Session::open_at(&config, number, settings)).await {
                Ok(session) => return Ok(session),
                Err(failure) => failed = failure,
            }
        }
        Err(failed)
    }
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, asked).await.unwrap_or_else(|_| Err(Failure::NoConnection(limit)))
}

/// All that an address says but for its hosts; the client library can only add hosts.
fn without_hosts(config: &Config) -> Config {
    let mut same = Config::new();
    if let Some(user) = config.get_user() {
        same.user(user);
    }
    if let Some(password) = config.get_password() {
        same.password(password);
    }
    if let Some(name) = config.get_dbname() {
        same.dbname(name);
    }
    if let Some(options) = config.get_options() {
        same.options(options);
    }
    if let Some(name) = config.get_application_name() {
        same.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        same.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        same.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        same.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        same.keepalives_retries(retries);
    }
    same.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_keeps_all_that_the_address_says() {
        let address = "postgres://me:secret@h1:5433,h2:5434,%2Frun/world?sslmode=require&keepalives=0\
                       &keepalives_idle=7&tcp_user_timeout=9&options=-c%20geqo%3Doff&channel_binding=require\
                       &connect_timeout=4&application_name=me&target_session_attrs=read-write\
                       &keepalives_interval=3&keepalives_retries=5&sslnegotiation=direct";
        let config: Config = address.parse().unwrap();
        let hosts = Hosts::new(&config);
        let labels: Vec<&str> = hosts.hosts.iter().map(|host| host.label.as_str()).collect();
        assert_eq!(labels, ["h1:5433", "h2:5434", "/run:5432"]);
        for host in &hosts.hosts {
            let [one] = host.config.get_hosts() else { panic!("{:?}", host.config) };
            let alone = address.replacen("h1:5433,h2:5434,%2Frun", "HOST", 1);
            let written = match one {
                Host::Tcp(name) => format!("{name}:{}", host.config.get_ports()[0]),
                Host::Unix(_) => "%2Frun:5432".to_owned(),
            };
            let expected: Config = alone.replace("HOST", &written).parse().unwrap();
            assert_eq!(host.config, expected);
        }
    }

    #[test]
    fn a_host_that_was_silent_is_asked_last() {
        let config: Config = "postgres://me@h1,h2,h3/world".parse().unwrap();
        let hosts = Hosts::new(&config);
        hosts.suspect(0, &Failure::Silent);
        assert_eq!(hosts.in_order(), [1, 2, 0]);
        hosts.suspect(2, &Failure::Silent);
        assert_eq!(hosts.in_order(), [1, 0, 2]);
        hosts.seen()[0].suspected = None;
        assert_eq!(hosts.in_order(), [0, 1, 2]);
        // Nobody knows how many hosts there are better than the list.
        hosts.suspect(9, &Failure::Silent);
    }
}
