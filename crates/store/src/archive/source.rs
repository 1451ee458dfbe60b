//! What archives are made of: a store, or a server that has one.

use super::Page;
use crate::{FeedError, FeedPosition, HashReading, ReadError, Store, load_now};
use pelago_model::{Document, Key};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// A store as an archive needs it.
pub trait Source {
    /// Which world it holds, and what it can.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn about(&mut self) -> Result<About, SourceError>;

    /// The documents that follow a key.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn documents(&mut self, after: Option<&Key>) -> Result<Page, SourceError>;

    /// What follows a position of the feed.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn changes(&mut self, after: FeedPosition) -> Result<Page, SourceError>;

    /// The hash of the world.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn hash(&mut self) -> Result<HashReading, SourceError>;
}

/// What a source says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The world in it.
    pub world: WorldIdentity,
    /// Where its feed ends; `None` if its engine has none.
    pub feed_end: Option<FeedPosition>,
}

/// Which world something is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldIdentity {
    /// The world's number.
    pub number: u32,
    /// What the world's document says; of one that says nothing, blake3 of its value, which has a secret. No two worlds
    /// share it. 64 hexadecimal digits.
    pub identity: String,
}

impl WorldIdentity {
    /// The identity of the world in a store; `None` if there is none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn of_store(store: &dyn Store) -> Result<Option<Self>, ReadError> {
        let found = load_now(store, vec![Key::world()])?;
        Ok(found.first().and_then(Self::of_document))
    }

    /// The identity of the world that has this document; `None` if it is none.
    pub fn of_document(document: &Document) -> Option<Self> {
        #[derive(Deserialize)]
        struct Said {
            world: u32,
            #[serde(default)]
            identity: String,
        }
        let value = document.value.as_deref()?;
        let Said { world: number, identity } = serde_json::from_slice(value).ok()?;
        let identity = match identity.is_empty() {
            true => blake3::hash(value).to_hex().to_string(),
            false => identity,
        };
        Some(Self { number, identity })
    }
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no world in it.
    #[error("there is no world in it")]
    NoWorld,
    /// The changes that follow the position are no longer kept.
    #[error("changes before {0} are no longer kept")]
    Forgotten(FeedPosition),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The server does not say.
    #[error("{0}")]
    Server(String),
}

impl From<FeedError> for SourceError {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Forgotten { oldest } => Self::Forgotten(oldest),
            FeedError::Read(error) => Self::Read(error),
        }
    }
}

impl Source for &dyn Store {
    fn about(&mut self) -> Result<About, SourceError> {
        let world = WorldIdentity::of_store(*self)?.ok_or(SourceError::NoWorld)?;
        let feed_end = self.capabilities().feed.then(|| self.feed_end()).transpose()?;
        Ok(About { world, feed_end })
    }

    fn documents(&mut self, after: Option<&Key>) -> Result<Page, SourceError> {
        Ok(Page::of_documents(*self, after)?)
    }

    fn changes(&mut self, after: FeedPosition) -> Result<Page, SourceError> {
        Ok(Page::of_changes(*self, after, super::MAX_PAGE_CHANGES)?)
    }

    fn hash(&mut self) -> Result<HashReading, SourceError> {
        Ok(HashReading::take(*self, &mut || ControlFlow::Continue(()))?)
    }
}
