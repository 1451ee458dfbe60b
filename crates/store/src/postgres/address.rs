//! The address of a database, and its options.

use super::tls::{Files, Tls};
use crate::OpenError;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// Connections that commit, unless the address says otherwise: one decides while the other syncs. More make groups smaller.
const DEFAULT_CONNECTIONS: usize = 2;
const MAX_CONNECTIONS: usize = 64;
/// How long a statement may take, unless the address says otherwise.
const DEFAULT_STATEMENT_TIMEOUT_MS: u64 = 5_000;
/// How long a connection to one host may take, unless the address says otherwise.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Changes that the feed keeps, unless the address says otherwise.
const DEFAULT_FEED_CHANGES: u64 = 262_144;

/// What an address says.
pub(super) struct Settings {
    /// Hosts, database, user and password.
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// The address as it may be shown: without user and password.
    pub(super) label: String,
    /// Connections that commit.
    pub(super) connections: usize,
    /// How long a host may take to be connected to, its first answer included.
    pub(super) connect_timeout: Duration,
    /// How long a statement may take.
    pub(super) statement_timeout: Duration,
    /// What `COMMIT` waits for.
    pub(super) synchronous_commit: SynchronousCommit,
    /// Changes that the feed keeps.
    pub(super) feed_changes: u64,
}

/// What `COMMIT` waits for: never less than the disk of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SynchronousCommit {
    /// The disks of the leader and of its synchronous standbys, if it has any.
    On,
    /// And until those standbys show it to readers.
    RemoteApply,
}

impl SynchronousCommit {
    /// As PostgreSQL calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::RemoteApply => "remote_apply",
        }
    }
}

impl Settings {
    /// Reads an address and the files that it names.
    pub(super) fn parse(address: &str) -> Result<Self, OpenError> {
        parse(address).map_err(|(label, problem)| OpenError::Database { address: label, problem })
    }
}

/// Options of our own; all others are the client library's.
#[derive(Default)]
struct Options<'a> {
    encryption: Option<&'a str>,
    files: Files,
    password_file: Option<PathBuf>,
    connections: Option<usize>,
    statement_timeout_ms: Option<u64>,
    synchronous_commit: Option<SynchronousCommit>,
    feed_changes: Option<u64>,
    /// Those of the client library, as they were.
    others: Vec<&'a str>,
}

fn parse(address: &str) -> Result<Settings, (String, String)> {
    let hidden = |problem: String| ("postgres://...".to_owned(), problem);
    let (base, query) = address.split_once('?').unwrap_or((address, ""));
    // Otherwise a part of the password would be taken for something that may be shown.
    if base.matches('@').count() > 1 || query.contains('@') {
        let problem = "write @, /, ? and % in user, password and options as %40, %2F, %3F and %25";
        return Err(hidden(problem.to_owned()));
    }
    let options = options(query).map_err(hidden)?;
    let mut plain = base.to_owned();
    if !options.others.is_empty() {
        plain = format!("{base}?{}", options.others.join("&"));
    }
    let mut config: Config =
        plain.parse().map_err(|error| hidden(super::errors::describe(&error)))?;
    if config.get_hosts().is_empty() || config.get_user().is_none_or(str::is_empty) {
        return Err(hidden("expected postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned()));
    }
    if config.get_dbname().is_none() {
        return Err(hidden(
            "no database is named: postgres://USER:PASSWORD@HOST/DATABASE".to_owned(),
        ));
    }
    let label = label(&config);
    complete(&mut config, &options)
        .map(|tls| Settings {
            connect_timeout: config
                .get_connect_timeout()
                .copied()
                .unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            config,
            tls,
            label: label.clone(),
            connections: options.connections.unwrap_or(DEFAULT_CONNECTIONS),
            statement_timeout: Duration::from_millis(
                options.statement_timeout_ms.unwrap_or(DEFAULT_STATEMENT_TIMEOUT_MS),
            ),
            synchronous_commit: options.synchronous_commit.unwrap_or(SynchronousCommit::On),
            feed_changes: options.feed_changes.unwrap_or(DEFAULT_FEED_CHANGES),
        })
        .map_err(|problem| (label, problem))
}

fn options(query: &str) -> Result<Options<'_>, String> {
    let mut options = Options::default();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').ok_or("an option has no value: NAME=VALUE")?;
        let number = |low: u64, high: u64| {
            let number = value.parse().ok().filter(|number| (low..=high).contains(number));
            number.ok_or(format!("option {name}: expected a number from {low} to {high}"))
        };
        let file = || PathBuf::from(value.replace("%2F", "/"));
        match name {
            "sslmode" => options.encryption = Some(value),
            "sslrootcert" => options.files.roots = Some(file()),
            "sslcert" => options.files.own.get_or_insert_default().0 = file(),
            "sslkey" => options.files.own.get_or_insert_default().1 = file(),
            "password_file" => options.password_file = Some(file()),
            "connections" => {
                options.connections = Some(number(1, MAX_CONNECTIONS as u64)? as usize);
            }
            "statement_timeout_ms" => options.statement_timeout_ms = Some(number(1, 600_000)?),
            "synchronous_commit" => {
                options.synchronous_commit = Some(match value {
                    "on" => SynchronousCommit::On,
                    "remote_apply" => SynchronousCommit::RemoteApply,
                    _ => return Err(format!("option {name}: expected on or remote_apply")),
                });
            }
            "feed_changes" => options.feed_changes = Some(number(1, 1 << 40)?),
            _ => options.others.push(option),
        }
    }
    Ok(options)
}

/// Sets what options say, and what nobody should have to say.
fn complete(config: &mut Config, options: &Options<'_>) -> Result<Tls, String> {
    if let Some(file) = &options.password_file {
        let password = std::fs::read_to_string(file)
            .map_err(|error| format!("option password_file: {}: {error}", file.display()))?;
        config.password(password.trim_end_matches(['\r', '\n']));
    }
    if config.get_application_name().is_none() {
        config.application_name("pelago");
    }
    // The library takes 0 for no limit at all.
    if config.get_connect_timeout().is_none_or(Duration::is_zero) {
        config.connect_timeout(DEFAULT_CONNECT_TIMEOUT);
    }
    // Of several hosts only the leader will do, and after a failover another one is it.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    let encryption = match options.encryption {
        Some(encryption) => encryption,
        None if config.get_hosts().iter().all(is_here) => "disable",
        None => "verify-full",
    };
    let (mode, verify) = match encryption {
        "disable" => (SslMode::Disable, false),
        "require" => (SslMode::Require, false),
        "verify-full" => (SslMode::Require, true),
        _ => return Err("option sslmode: expected disable, require or verify-full".to_owned()),
    };
    config.ssl_mode(mode);
    match Tls::new(&options.files, verify) {
        Err(problem) if mode != SslMode::Disable => Err(format!(
            "TLS to the database (options sslmode, sslrootcert, sslcert, sslkey): {problem}"
        )),
        // Nothing is verified where nothing is encrypted.
        Err(_) => Tls::new(&Files::default(), false),
        tls => tls,
    }
}

/// Whether nobody can listen on the way to a host.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
    }
}

fn label(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |number: usize| ports.get(number).or(ports.first()).copied().unwrap_or(5432);
    let host = |(number, host): (usize, &Host)| match host {
        Host::Tcp(name) => format!("{name}:{}", port(number)),
        Host::Unix(path) => format!("{}:{}", path.display(), port(number)),
    };
    let hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
    format!("postgres://{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_hosts_and_options() {
        let settings = Settings::parse(
            "postgres://me:secret@h1:5433,h2/world?sslmode=require&connections=2&statement_timeout_ms=900\
             &synchronous_commit=remote_apply&feed_changes=7&connect_timeout=9",
        )
        .ok()
        .unwrap();
        assert_eq!(settings.label, "postgres://h1:5433,h2:5432/world");
        assert_eq!(settings.config.get_password(), Some(&b"secret"[..]));
        assert_eq!(settings.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(settings.config.get_connect_timeout(), Some(&Duration::from_secs(9)));
        assert_eq!(settings.connections, 2);
        assert_eq!(settings.statement_timeout, Duration::from_millis(900));
        assert_eq!(settings.synchronous_commit, SynchronousCommit::RemoteApply);
        assert_eq!(settings.feed_changes, 7);
    }

    #[test]
    fn only_the_own_machine_is_reached_without_encryption_unless_it_is_asked_for() {
        let mode = |address: &str| Settings::parse(address).ok().unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://me@localhost/world"), SslMode::Disable);
        assert_eq!(mode("postgresql://me@127.0.0.1,[::1]:5433/world"), SslMode::Disable);
        assert_eq!(mode("postgres://me@%2Frun%2Fpostgresql/world"), SslMode::Disable);
        assert_eq!(mode("postgres://me@10.0.0.1/world?sslmode=disable"), SslMode::Disable);
        let error = Settings::parse("postgres://me@10.0.0.1/world?sslrootcert=/missing");
        let error = error.err().unwrap().to_string();
        assert!(error.contains("sslrootcert") && error.contains("/missing"), "{error}");
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong_and_never_the_password() {
        for (address, says) in [
            ("postgres://", "expected postgres://USER"),
            ("postgres://h/world", "expected postgres://USER"),
            ("postgres://me:secret", "port"),
            ("postgres://me:secret@h", "no database"),
            ("postgres://me:secret@h:secret/world", "port"),
            ("postgres://me:se@cret@h/world", "%40"),
            ("postgres://me:se?cret=1@h/world", "%40"),
            ("postgres://me:secret@h/world?sslmode=prefer", "verify-full"),
            ("postgres://me:secret@h/world?sslmode=disable&connections=0", "from 1 to 64"),
            ("postgres://me:secret@h/world?synchronous_commit=off", "remote_apply"),
            ("postgres://me:secret@h/world?color=blue", "color"),
            ("postgres://me:secret@h/world?color", "NAME=VALUE"),
            ("postgres://me@localhost/world?password_file=/missing", "/missing"),
        ] {
            let error = Settings::parse(address).err().unwrap_or_else(|| panic!("{address}"));
            let error = error.to_string();
            assert!(error.starts_with("--store postgres://"), "{error}");
            assert!(error.contains(says), "{address}: {error}");
            assert!(!error.contains("cret"), "{error}");
        }
    }
}
