//! Which names a listener answers to. A stranger can point a name of his own at any address, this machine's loopback
//! included, and a browser then takes the stranger's page for a page of ours: only its `Host` gives it away.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Names by which a server may be asked for, beside those of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Arc<[String]>);

/// The names that one listener answers to.
#[derive(Clone, Debug)]
pub struct HostRule {
    allowed: AllowedHosts,
    /// Whether it can only be reached from this machine.
    loopback: bool,
}

/// A text that is no name of a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a host: it is written without scheme, port and path")]
pub struct MalformedHost(String);

/// A request that names a host which is not ours, or comes from a page of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignHost {
    /// The host that is asked for.
    #[error("the host that was asked for is not one of this server: --allowed-host allows it")]
    Host,
    /// The page that asks.
    #[error("the request was made by a page of another host: --allowed-host allows it")]
    Origin,
}

impl AllowedHosts {
    /// These names, without ports.
    ///
    /// # Errors
    /// [`MalformedHost`] if one is no name of a host.
    pub fn new(names: impl IntoIterator<Item = String>) -> Result<Self, MalformedHost> {
        let known = |name: String| {
            let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let is_name = !name.is_empty() && name.bytes().all(letters);
            match address {
                Ok(IpAddr::V6(address)) => Ok(format!("[{address}]")),
                _ if is_name => Ok(name.trim_end_matches('.').to_ascii_lowercase()),
                _ => Err(MalformedHost(name)),
            }
        };
        names.into_iter().map(known).collect::<Result<Vec<_>, _>>().map(|names| Self(names.into()))
    }

    /// Whether no name was allowed beside those of this machine.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rule of a listener at an address.
    pub fn at(&self, listener: SocketAddr) -> HostRule {
        HostRule { allowed: self.clone(), loopback: listener.ip().is_loopback() }
    }

    fn contains(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.');
        self.0.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

impl HostRule {
    /// Decides about a request by its `Host` and `Origin`. Programs name no origin. No browser leaves out the host, so
    /// a request without one comes from a program, too.
    ///
    /// # Errors
    /// [`ForeignHost`] says which of the two is not ours.
    pub fn check(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), ForeignHost> {
        if !host.is_none_or(|host| self.is_ours(name_of(host))) {
            return Err(ForeignHost::Host);
        }
        let Some(origin) = origin else { return Ok(()) };
        let origin = origin.split_once("://").map(|(_, authority)| name_of(authority));
        let (Some(origin), Some(host)) = (origin, host.map(name_of)) else {
            return Err(ForeignHost::Origin);
        };
        let is_same = origin.eq_ignore_ascii_case(host);
        let is_here = is_loopback(origin) && is_loopback(host);
        let is_ours = is_same || is_here || self.allowed.contains(origin);
        if is_ours { Ok(()) } else { Err(ForeignHost::Origin) }
    }

    /// The same for a request that a proxy has forwarded, where only operators may ask: it is never one of this machine,
    /// whatever it names, so the host has to be one of the list.
    ///
    /// # Errors
    /// See [`HostRule::check`].
    pub fn check_forwarded(
        &self,
        host: Option<&str>,
        origin: Option<&str>,
    ) -> Result<(), ForeignHost> {
        if !host.is_some_and(|host| self.allowed.contains(name_of(host))) {
            return Err(ForeignHost::Host);
        }
        self.check(host, origin)
    }

    /// A name of this machine's own, or one of the list. Where others can reach the listener, any address is ours: what
    /// is asked for by its address cannot have been renamed by anybody.
    fn is_ours(&self, name: &str) -> bool {
        let is_address = || address(name).is_some();
        is_loopback(name) || self.allowed.contains(name) || (!self.loopback && is_address())
    }
}

/// The name in `name[:port]`.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

fn address(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || address(name).is_some_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(listener: &str, allowed: &[&str]) -> HostRule {
        let allowed = AllowedHosts::new(allowed.iter().map(ToString::to_string)).unwrap();
        allowed.at(listener.parse().unwrap())
    }

    #[test]
    fn a_loopback_listener_answers_to_loopback_names_and_to_the_list() {
        let rule = rule("127.0.0.1:8080", &["Game.example", "[::2]"]);
        for (host, expected) in [
            ("127.0.0.1:8080", true),
            ("127.0.0.1", true),
            ("localhost:8080", true),
            ("LocalHost", true),
            ("[::1]:8080", true),
            ("game.example", true),
            ("GAME.example.:443", true),
            ("[::2]:1", true),
            ("evil.example:8080", false),
            ("sub.game.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example:8080", false),
            ("192.168.0.7:8080", false),
            ("", false),
        ] {
            assert_eq!(rule.check(Some(host), None).is_ok(), expected, "{host}");
        }
        assert_eq!(rule.check(None, None), Ok(()));
    }

    #[test]
    fn an_open_listener_answers_to_addresses_and_to_no_name_that_was_not_allowed() {
        let rule = rule("0.0.0.0:8080", &[]);
        assert_eq!(rule.check(Some("192.168.0.7:8080"), None), Ok(()));
        assert_eq!(rule.check(Some("localhost"), None), Ok(()));
        assert_eq!(rule.check(Some("evil.example"), None), Err(ForeignHost::Host));
    }

    #[test]
    fn only_pages_of_the_same_host_or_of_the_list_may_connect() {
        let rule = rule("127.0.0.1:7001", &["play.example", "cdn.example"]);
        for (origin, host, expected) in [
            (None, Some("127.0.0.1:7001"), Ok(())),
            (Some("http://127.0.0.1:8080"), Some("127.0.0.1:7001"), Ok(())),
            (Some("http://localhost:5173"), Some("127.0.0.1:7001"), Ok(())),
            (Some("https://Play.example"), Some("play.example:443"), Ok(())),
            (Some("https://cdn.example"), Some("play.example"), Ok(())),
            (Some("http://[::1]:8080"), Some("[::1]:7001"), Ok(())),
            (Some("https://evil.example"), Some("127.0.0.1:7001"), Err(ForeignHost::Origin)),
            (Some("https://evil.example"), Some("evil.example"), Err(ForeignHost::Host)),
            (Some("null"), Some("127.0.0.1:7001"), Err(ForeignHost::Origin)),
            (Some("http://127.0.0.1"), None, Err(ForeignHost::Origin)),
        ] {
            assert_eq!(rule.check(host, origin), expected, "{origin:?} {host:?}");
        }
    }

    #[test]
    fn what_a_proxy_has_forwarded_is_never_of_this_machine() {
        let rule = rule("127.0.0.1:7001", &["ops.example"]);
        assert_eq!(rule.check_forwarded(Some("127.0.0.1:7001"), None), Err(ForeignHost::Host));
        assert_eq!(rule.check_forwarded(Some("localhost"), None), Err(ForeignHost::Host));
        assert_eq!(rule.check_forwarded(None, None), Err(ForeignHost::Host));
        assert_eq!(rule.check_forwarded(Some("ops.example"), None), Ok(()));
    }

    #[test]
    fn what_is_no_name_is_not_taken_for_one() {
        for name in ["", "http://a.example", "a.example:80", "a.example/b", "*.example"] {
            assert!(AllowedHosts::new([name.to_owned()]).is_err(), "{name}");
        }
    }
}
