//! A client that asks to be let in, and whom the documents of names say it is.
//!
//! A name is looked up as it was said first: names that are older than the rule of [`Name`] stay what they are. Otherwise
//! it is its canonical form, and new names are taken together with all that look like them.

use crate::documents::avatar::{NAME_SCHEMA, NameDocument};
use crate::documents::schema::read;
use crate::documents::skeleton::{SkeletonDocument, reserve};
use crate::documents::token::TokenHash;
use pelago_game::{Arrival, Refusal, json};
use pelago_model::limits::MAX_NAME_BYTES;
use pelago_model::{Document, EntityId, Key, Name, NoName, Revision, Write, keys_of_name};
use pelago_world::ClientId;
use std::borrow::Cow;

/// A client that asks to be let in.
pub(super) struct Applicant {
    pub(super) client: ClientId,
    /// The name of the avatar that is asked for, as it was said.
    pub(super) said: Said,
    /// The same in its canonical form, if it is a name by the rule of today.
    pub(super) name: Result<Name, NoName>,
    /// Of the proof that the name is the client's own, for its canonical form.
    pub(super) token: TokenHash,
    /// The position at which a new avatar appears.
    pub(super) arrival: Arrival,
}

/// A name as it was said, and the hash of the token for it.
pub(super) struct Said {
    pub(super) name: String,
    pub(super) token: TokenHash,
}

/// The bearer of a name.
pub(super) enum Found {
    Avatar(Bearer),
    /// Nobody bears it, and nobody bears one that looks like it. This write keeps it so.
    Nobody {
        reserve: Write,
    },
    /// Somebody bears a name that looks like it.
    LookAlike,
    /// Nobody bears it, and nobody may.
    NoName(NoName),
}

/// An avatar that bears a name.
pub(super) struct Bearer {
    pub(super) avatar: EntityId,
    /// The name belongs to another token.
    pub(super) is_foreign: bool,
    /// The revision of a name that no token was bound to yet.
    pub(super) is_unbound: Option<Revision>,
    /// What reserves the name for those who look like it, if nobody has.
    pub(super) reserve: Option<Write>,
}

/// Whether a text could be taken as a name before there was a rule for names.
pub(super) fn may_be_old(name: &str) -> bool {
    let is_visible = |c: char| !c.is_control();
    !name.trim().is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(is_visible)
}

/// What a player is told whose text is no name.
pub(super) fn no_name(problem: NoName) -> Refusal {
    let sentence = match problem {
        NoName::Empty => "A name needs a letter or a digit.",
        NoName::TooLong => "That name is too long.",
        NoName::Character => {
            "A name begins with a letter or a digit, and is of letters, digits, blanks and - _ . '"
        }
        NoName::Scripts => "That name mixes letters that are easily taken for each other.",
    };
    Refusal::new("name", sentence)
}

impl Applicant {
    /// The documents that say who it is.
    pub(super) fn keys(&self) -> Vec<Key> {
        let mut keys = keys_of_name(&self.said.name);
        if let Ok(name) = &self.name {
            keys.push(Key::skeleton(&name.skeleton()));
        }
        keys
    }

    /// Who it is, by its documents.
    pub(super) fn look_up(&self, documents: &[Document]) -> Result<Found, String> {
        if documents.len() != self.keys().len() {
            return Err("the store answered with too few documents".to_owned());
        }
        let (name, skeleton, said) = match (&self.name, documents) {
            (Ok(name), [said @ .., skeleton]) => (name, skeleton, said),
            (Ok(_), []) => return Err("the store answered with no documents".to_owned()),
            (Err(problem), _) => {
                let old = documents.first().map(|document| bearer(document, &self.said.token));
                let old = old.transpose()?.flatten();
                return Ok(old.map_or(Found::NoName(*problem), Found::Avatar));
            }
        };
        // As it was said, if that is short enough, and in its canonical form.
        let is_short = self.said.name.len() <= MAX_NAME_BYTES;
        let tokens = is_short.then_some(&self.said.token).into_iter().chain([&self.token]);
        let mut found = None;
        for (document, token) in said.iter().zip(tokens) {
            found = bearer(document, token)?;
            if found.is_some() {
                break;
            }
        }
        let taken: Option<SkeletonDocument> = read(skeleton)?;
        let free = || reserve(name, skeleton).map_err(|error| error.to_string());
        Ok(match (found, taken) {
            (Some(bearer), None) => Found::Avatar(Bearer { reserve: Some(free()?), ..bearer }),
            (Some(bearer), Some(_)) => Found::Avatar(bearer),
            (None, None) => Found::Nobody { reserve: free()? },
            (None, Some(_)) => Found::LookAlike,
        })
    }

    /// The name of a new avatar.
    pub(super) fn new_name(&self) -> Result<&Name, Cow<'static, str>> {
        self.name.as_ref().map_err(|problem| problem.to_string().into())
    }

    /// Binds the name to a new avatar and the token.
    pub(super) fn bind_new_name(&self, avatar: EntityId) -> Result<Write, String> {
        let name = self.new_name()?.as_str();
        bind(name, self.token, avatar, Revision(0))
    }

    /// Binds a name that no token was bound to, as it was said: no other name has none.
    pub(super) fn bind_old_name(
        &self,
        avatar: EntityId,
        expected: Revision,
    ) -> Result<Write, String> {
        bind(&self.said.name, self.said.token, avatar, expected)
    }
}

fn bearer(document: &Document, token: &TokenHash) -> Result<Option<Bearer>, String> {
    let Some(NameDocument { avatar, token: bound }) = NameDocument::read(document)? else {
        return Ok(None);
    };
    let is_foreign = bound.is_some_and(|bound| !bound.is(token));
    let is_unbound = bound.is_none().then_some(document.revision);
    Ok(Some(Bearer { avatar, is_foreign, is_unbound, reserve: None }))
}

fn bind(
    name: &str,
    token: TokenHash,
    avatar: EntityId,
    expected: Revision,
) -> Result<Write, String> {
    let value = json::encode(&NameDocument { avatar, token: Some(token) });
    let value = value.map_err(|error| error.to_string())?;
    Ok(Write { key: Key::name(name), expected, schema: NAME_SCHEMA, value: Some(value) })
}
