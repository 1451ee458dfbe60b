//! Whose connection it is that a proxy makes: by the PROXY protocol on plain connections, by `X-Forwarded-For` in HTTP.
//!
//! Only proxies that operators have named are believed, because anybody can write either.

use ipnet::IpNet;
use ppp::{v1, v2};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a proxy may take to say for whom it connects.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// With what a header in its binary form begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of that beginning, of the version, the family and the length.
const BINARY_START: usize = 16;
/// Bytes of a binary header after its start; a longer one is refused.
const MAX_BINARY_REST: usize = 1024;
/// Bytes of a header in its text form, as the protocol has it.
const MAX_TEXT: usize = 107;

/// The address of all clients whose address cannot be read. They share its budgets.
pub const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// The proxies that are believed. The default is none.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
    speak_protocol: bool,
}

/// A text that is neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network, such as 10.0.0.0/8")]
pub struct MalformedNetwork(String);

impl TrustedProxies {
    /// Proxies at these addresses or in these networks. If they `speak_protocol`, each of their connections to a
    /// listener for clients begins with a header of the PROXY protocol, version 1 or 2.
    ///
    /// # Errors
    /// [`MalformedNetwork`] names the text.
    pub fn new<'a>(
        networks: impl IntoIterator<Item = &'a str>,
        speak_protocol: bool,
    ) -> Result<Self, MalformedNetwork> {
        let network = |text: &str| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            address.or_else(|_| text.parse()).map_err(|_| MalformedNetwork(text.to_owned()))
        };
        let networks = networks.into_iter().map(network).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { networks: networks.into(), speak_protocol })
    }

    /// Whether it is the address of such a proxy.
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// For whom a request was made, [`NOBODY`] if that cannot be read: the nearest address in the values of `X-Forwarded-For` that is not a trusted proxy's,
    /// if the peer is one.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        for hop in forwarded_for.rev().flat_map(|value| value.rsplit(',')) {
            if !self.trust(client) {
                break;
            }
            match address(hop.trim()) {
                Some(before) => client = before,
                // A proxy that names nobody that can be read: that is not the proxy itself, whose budgets may be wide.
                None => return NOBODY,
            }
        }
        client
    }

    /// For whom a connection was made: reads what a trusted proxy says of it before everything else, if it speaks the
    /// protocol.
    ///
    /// # Errors
    /// If it does not say so in time.
    pub async fn client_of(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
    ) -> io::Result<SocketAddr> {
        if !self.speak_protocol || !self.trust(peer.ip()) {
            return Ok(peer);
        }
        let header = timeout(HEADER_TIMEOUT, read_header(stream)).await;
        let told = header.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(told.unwrap_or(peer))
    }
}

/// An address as `X-Forwarded-For` has it: some proxies add the port.
fn address(hop: &str) -> Option<IpAddr> {
    let plain = hop.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    plain.or_else(with_port).map(|address| address.to_canonical())
}

/// What a header says: nothing, if the proxy speaks for itself. Reads not a byte more than the header.
async fn read_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(BINARY_START, 0);
        stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > MAX_BINARY_REST {
            return Err(malformed());
        }
        header.resize(BINARY_START + rest, 0);
        stream.read_exact(&mut header[BINARY_START..]).await?;
        return of_binary(&header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(malformed());
    }
    while !header.ends_with(b"\n") {
        if header.len() == MAX_TEXT {
            return Err(malformed());
        }
        header.push(stream.read_u8().await?);
    }
    of_text(&header)
}

fn of_binary(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let header = v2::Header::try_from(header).map_err(|_| malformed())?;
    Ok(match header.addresses {
        // It is the proxy itself, looking after us.
        _ if header.command == v2::Command::Local => None,
        v2::Addresses::IPv4(told) => Some((told.source_address, told.source_port).into()),
        v2::Addresses::IPv6(told) => Some((told.source_address, told.source_port).into()),
        _ => None,
    })
}

fn of_text(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let header = v1::Header::try_from(header).map_err(|_| malformed())?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(told) => Some((told.source_address, told.source_port).into()),
        v1::Addresses::Tcp6(told) => Some((told.source_address, told.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

fn malformed() -> io::Error {
    let problem = "a trusted proxy did not begin with a header of the PROXY protocol";
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_client_is_the_nearest_address_that_no_trusted_proxy_has() {
        let proxies = TrustedProxies::new(["127.0.0.1", "10.0.0.0/8", "::1"], false).unwrap();
        for (peer, forwarded, expected) in [
            ("127.0.0.1", &["203.0.113.9"][..], "203.0.113.9"),
            ("::ffff:127.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            // What a client writes itself stands on the left of what the proxy adds.
            ("127.0.0.1", &["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &["1.2.3.4", "203.0.113.9, 10.1.2.3"], "203.0.113.9"),
            ("127.0.0.1", &["[2001:db8::7]:443"], "2001:db8::7"),
            ("127.0.0.1", &["203.0.113.9:5000"], "203.0.113.9"),
            ("127.0.0.1", &["10.9.9.9"], "10.9.9.9"),
            // Nobody, and not the proxy, which may have wide budgets.
            ("127.0.0.1", &["203.0.113.9, unknown"], "0.0.0.0"),
            ("127.0.0.1", &["\u{fffd}"], "0.0.0.0"),
            ("127.0.0.1", &["\u{fffd}, 192.0.2.2"], "192.0.2.2"),
            ("127.0.0.1", &[], "127.0.0.1"),
            // Anybody can say anything.
            ("203.0.113.5", &["1.2.3.4"], "203.0.113.5"),
        ] {
            let client = proxies.client(ip(peer), forwarded.iter().copied());
            assert_eq!(client, ip(expected), "{peer} {forwarded:?}");
        }
        let none = TrustedProxies::default();
        assert_eq!(none.client(ip("127.0.0.1"), ["1.2.3.4"].into_iter()), ip("127.0.0.1"));
        assert!(TrustedProxies::new(["10.0.0.0/33"], true).is_err());
    }

    /// What is found out of a connection that begins with these bytes, and what is left of them to be read.
    async fn told(proxies: &TrustedProxies, bytes: &[u8]) -> (io::Result<SocketAddr>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let told = proxies.client_of(&mut stream, peer).await;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (told.map(|told| if told == peer { SocketAddr::from(([0; 4], 0)) } else { told }), rest)
    }

    #[tokio::test]
    async fn a_trusted_proxy_says_for_whom_it_connects_and_nothing_after_it_is_lost() {
        let proxies = TrustedProxies::new(["127.0.0.1"], true).unwrap();
        let binary = |command: u8, family: u8, addresses: &[u8]| {
            let mut header = SIGNATURE.to_vec();
            header.extend([0x20 | command, family]);
            header.extend((addresses.len() as u16).to_be_bytes());
            header.extend(addresses);
            header
        };
        let four = [203, 0, 113, 9, 127, 0, 0, 1, 0x13, 0x88, 0x1b, 0x58];
        let with_more = [&four[..], &[4, 0, 2, 1, 1]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 203.0.113.9 127.0.0.1 5000 7000\r\n".to_vec(), "203.0.113.9:5000"),
            (b"PROXY TCP6 2001:db8::7 ::1 5000 7000\r\n".to_vec(), "[2001:db8::7]:5000"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "0.0.0.0:0"),
            (binary(1, 0x11, &four), "203.0.113.9:5000"),
            (binary(1, 0x11, &with_more), "203.0.113.9:5000"),
            (binary(0, 0, &[]), "0.0.0.0:0"),
        ] {
            let (told, rest) = told(&proxies, &[&header, &b"hello"[..]].concat()).await;
            assert_eq!(told.unwrap(), expected.parse().unwrap(), "{header:?}");
            assert_eq!(rest, b"hello");
        }
        for wrong in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 nobody 127.0.0.1 1 2\r\n",
            b"PROXY",
            &[b"PROXY ", &[b'x'; 200][..]].concat(),
            &[&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat(),
        ] {
            assert!(told(&proxies, wrong).await.0.is_err(), "{wrong:?}");
        }
        let strangers = TrustedProxies::new(["10.0.0.0/8"], true).unwrap();
        let (told, rest) = told(&strangers, b"PROXY UNKNOWN\r\n").await;
        assert_eq!((told.unwrap().port(), &rest[..]), (0, &b"PROXY UNKNOWN\r\n"[..]));
    }
}
