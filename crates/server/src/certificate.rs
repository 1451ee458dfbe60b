//! The certificate of a server: given in files, or made for development and kept with the world.

use crate::data;
use anyhow::{Context, Result};
use pelago_net::ServerTls;
use pelago_store::files;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where a server has its certificate from.
#[derive(Clone, Debug)]
pub(crate) enum Certificate {
    /// From two files in PEM.
    Files {
        /// The chain, the server's own certificate first.
        certificates: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// Made by ourselves for these addresses, and kept in this directory. Only clients that were told its fingerprint
    /// trust it.
    SelfMade {
        /// Of the world.
        data: PathBuf,
        /// Where the server listens.
        addresses: Vec<IpAddr>,
    },
}

impl Certificate {
    /// Reads it, or makes it.
    ///
    /// # Errors
    /// The text names the flag and the file.
    pub(crate) fn load(&self) -> Result<ServerTls> {
        match self {
            Self::Files { certificates, key } => {
                ServerTls::from_files(certificates, key).context("--tls-cert and --tls-key")
            }
            Self::SelfMade { data, addresses } => {
                self_made(&data::tls(data), addresses).context("--tls-self-made")
            }
        }
    }
}

fn self_made(directory: &Path, addresses: &[IpAddr]) -> Result<ServerTls> {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    // The certificate is written last: where it is, all is. Earlier builds could lose what is in it to a power failure.
    let is_there = std::fs::metadata(&certificate).is_ok_and(|found| found.len() > 0);
    if !is_there {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let more = addresses.iter().filter(|address| !address.is_unspecified());
        names.extend(
            more.map(IpAddr::to_string).filter(|name| name != "127.0.0.1" && name != "::1"),
        );
        let made = rcgen::generate_simple_self_signed(names).context("a certificate")?;
        let shown = |path: &Path| path.display().to_string();
        files::create_directory(directory).with_context(|| shown(directory))?;
        for (file, text) in
            [(&key, made.signing_key.serialize_pem()), (&certificate, made.cert.pem())]
        {
            files::replace(file, text.as_bytes()).with_context(|| shown(file))?;
        }
    }
    Ok(ServerTls::from_files(&certificate, &key)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_self_made_certificate_is_kept_and_its_key_is_private() {
        let data = tempfile::tempdir().unwrap();
        let made = Certificate::SelfMade { data: data.path().into(), addresses: Vec::new() };
        let first = made.load().unwrap().fingerprint();
        assert_eq!(made.load().unwrap().fingerprint(), first);
        let key = data.path().join("tls/key.pem");
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        // A run that was killed between the files left a key alone, and a power failure an empty certificate.
        let certificate = data.path().join("tls/certificate.pem");
        std::fs::remove_file(&certificate).unwrap();
        let second = made.load().unwrap().fingerprint();
        assert_ne!(second, first);
        std::fs::write(&certificate, "").unwrap();
        assert_ne!(made.load().unwrap().fingerprint(), second);
        std::fs::write(&key, "spoiled").unwrap();
        let error = format!("{:#}", made.load().unwrap_err());
        assert!(error.contains("--tls-self-made") && error.contains("key.pem"), "{error}");
    }
}
