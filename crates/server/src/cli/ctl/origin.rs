//! Where a world is read: in a store, or through the server that has it.

use super::remote::Remote;
use crate::config::Config;
use anyhow::{Context, Result, bail};
use clap::Args;
use pelago_admin::http_client::{HttpClient, trust};
use pelago_admin::token::bearer_of;
use pelago_net::Fingerprint;
use pelago_store::archive::Source;
use pelago_store::{Embedded, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;

/// The flags that say it.
#[derive(Args)]
pub(super) struct OriginArguments {
    /// The store's address, as that of pelago dev --store; without it and --server, the environment's
    /// PELAGO_STORE__ADDRESS, which is where one with a password belongs
    #[arg(long, value_name = "ADDRESS", conflicts_with = "server")]
    store: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
}

/// The flags that name a server.
#[derive(Args)]
pub(super) struct ServerArguments {
    /// The server that runs the world: its address for operators
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// A file with the server's admin token; without it, the environment's PELAGO_ADMIN_TOKEN, otherwise the one that
    /// the server keeps in --data
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// The server's --data, if it runs on this machine: for its admin token
    #[arg(long, value_name = "DIRECTORY", default_value = "./data")]
    data: PathBuf,
    /// Trust servers with these certificates, or with certificates from these (PEM); for https
    #[arg(long, value_name = "FILE", requires = "server")]
    ca: Option<PathBuf>,
    /// Trust the one server whose certificate has this SHA-256 fingerprint; for https
    #[arg(long, value_name = "HEX", requires = "server", conflicts_with = "ca")]
    fingerprint: Option<Fingerprint>,
}

/// A world that can be read.
pub(super) enum Origin {
    Store(Arc<dyn Store>),
    Server(Remote),
}

impl OriginArguments {
    pub(super) fn open(&self, runtime: &Handle) -> Result<Origin> {
        match self.server.client()? {
            Some(client) => Ok(Origin::Server(Remote::new(client, runtime.clone()))),
            None => Ok(Origin::Store(open_existing(&address(self.store.as_deref())?)?)),
        }
    }
}

impl ServerArguments {
    /// The way to the server, if one is named.
    pub(super) fn client(&self) -> Result<Option<HttpClient>> {
        let Some(url) = &self.server else { return Ok(None) };
        let authorization = bearer_of("--token-file", self.token_file.as_deref(), &self.data)?;
        let trust = trust(self.ca.as_deref(), self.fingerprint)?;
        HttpClient::new(url, trust, authorization).context("--server").map(Some)
    }
}

/// The address of a store: of the flag, or of the environment.
pub(super) fn address(flag: Option<&str>) -> Result<String> {
    let found = match flag {
        Some(address) => Some(address.to_owned()),
        None => Config::read(None)?.store.address,
    };
    found.context("name a store, with --store or PELAGO_STORE__ADDRESS, or the server that has it")
}

impl Origin {
    /// Lets `read` have it, then closes what was opened.
    pub(super) fn read<T>(self, read: impl FnOnce(&mut dyn Source) -> Result<T>) -> Result<T> {
        match self {
            Self::Server(mut remote) => read(&mut remote),
            Self::Store(store) => {
                let result = read(&mut &*store);
                store.close();
                result
            }
        }
    }
}

/// Opens a store, but creates none.
fn open_existing(address: &str) -> Result<Arc<dyn Store>> {
    if let Some(("embedded" | "fjall", directory)) = address.split_once(':')
        && !Embedded::is_in(Path::new(directory))
    {
        bail!("--store: there is no store in {directory}");
    }
    match pelago_store::open(address) {
        Err(error @ pelago_store::OpenError::InUse(_)) => {
            Err(error).context("--store: read it through the server that has it: --server URL")
        }
        opened => opened.context("--store"),
    }
}
