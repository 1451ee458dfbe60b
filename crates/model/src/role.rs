//! Roles: what a node promises to do for its cluster, by key.

use arrayvec::ArrayString;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest name of a role, in bytes.
pub const MAX_ROLE_BYTES: usize = 24;

/// The name of a service: lower-case letters, digits and `-`, for instance `steward`. To the platform it is nothing more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "ArrayString<MAX_ROLE_BYTES>")]
pub struct Role(ArrayString<MAX_ROLE_BYTES>);

/// A text that names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role has 1 to {MAX_ROLE_BYTES} lower-case letters, digits and -")]
pub struct MalformedRole;

impl Role {
    /// The role with this name.
    ///
    /// # Errors
    /// [`MalformedRole`].
    pub fn parse(name: &str) -> Result<Self, MalformedRole> {
        let name = ArrayString::from(name).map_err(|_| MalformedRole)?;
        Self::try_from(name)
    }

    /// Durable turns.
    pub fn steward() -> Self {
        Self::known("steward")
    }

    /// Lanes with players: what is called by it is a real or a session, which is on a certain node.
    pub fn lane() -> Self {
        Self::known("lane")
    }

    /// Rooms, whispers and mailboxes.
    pub fn chat() -> Self {
        Self::known("chat")
    }

    /// What nodes tell operators.
    pub fn admin() -> Self {
        Self::known("admin")
    }

    fn known(name: &str) -> Self {
        Self(ArrayString::from(name).unwrap_or_default())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<ArrayString<MAX_ROLE_BYTES>> for Role {
    type Error = MalformedRole;

    fn try_from(name: ArrayString<MAX_ROLE_BYTES>) -> Result<Self, MalformedRole> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(MalformedRole);
        }
        Ok(Self(name))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Role({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_a_short_name_in_lower_case() {
        assert_eq!(Role::parse("steward"), Ok(Role::steward()));
        for name in ["", "Steward", "a b", "ä", "a-name-of-more-than-24-bytes"] {
            assert_eq!(Role::parse(name), Err(MalformedRole), "{name}");
        }
        let text = serde_json::to_string(&Role::chat()).unwrap();
        assert_eq!(serde_json::from_str::<Role>(&text).unwrap(), Role::chat());
        assert!(serde_json::from_str::<Role>("\"A\"").is_err());
    }
}
