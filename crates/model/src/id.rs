//! Identities. Those of lasting things are unique across worlds, so that two worlds can be merged.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Bits of a lasting id that count within its world.
pub const SERIAL_BITS: u32 = 44;

/// The number of a world: the upper 20 bits of every lasting id made in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorldNumber(u32);

impl WorldNumber {
    /// The largest world number.
    pub const MAX: u32 = (1 << (64 - SERIAL_BITS)) - 1;

    /// A world number, or `None` above [`WorldNumber::MAX`].
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number itself.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A text that is not sixteen hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 16 hexadecimal digits")]
pub struct MalformedId;

macro_rules! lasting_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 20 bits of world number, then 44 bits of serial; written as 16 hexadecimal digits.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The id with this serial in this world. Serials wrap at 2^44, which no world reaches.
            pub const fn new(world: WorldNumber, serial: u64) -> Self {
                Self(((world.0 as u64) << SERIAL_BITS) | (serial & ((1 << SERIAL_BITS) - 1)))
            }

            /// The world in which the id was made.
            pub const fn world(self) -> WorldNumber {
                WorldNumber((self.0 >> SERIAL_BITS) as u32)
            }

            /// The count within the world.
            pub const fn serial(self) -> u64 {
                self.0 & ((1 << SERIAL_BITS) - 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:016x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(MalformedId);
                }
                u64::from_str_radix(text, 16).map(Self).map_err(|_| MalformedId)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

lasting_id! {
    /// Something with a position: an avatar, an animal, an object.
    EntityId
}
lasting_id! {
    /// A piece of land.
    IslandId
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after.
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// The fencing number of an avatar's ownership: work under an older one fails.
    Epoch
}
counter! {
    /// The number of a durable command of one avatar, counted from 1 over its whole life.
    Sequence
}
counter! {
    /// How often a document was written; 0 is "never". It outlives deletion.
    Revision
}

/// A node of the cluster, as configured; unique among the living.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u16);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a node: the world time in ms at which its process started. A later life is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// A publisher on channels: one part (a lane or a host of services) of one life of one node.
///
/// 16 bits of node, 12 bits of part, the lower 36 bits of the incarnation. Readers only compare it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherId(pub u64);

impl PublisherId {
    /// Bits of the number of a part.
    const PART_BITS: u32 = 12;
    /// Bits of the incarnation that are kept.
    const LIFE_BITS: u32 = 36;
    /// Parts from this number on are hosts of services; smaller ones are lanes.
    const FIRST_SERVICE: u16 = 1 << (Self::PART_BITS - 1);
    /// The largest number of a part.
    pub const MAX_PART: u16 = (1 << Self::PART_BITS) - 1;

    /// The publisher with this number of a part, of which the lower 12 bits count.
    pub const fn new(node: NodeId, part: u16, incarnation: Incarnation) -> Self {
        let life = incarnation.0 & ((1 << Self::LIFE_BITS) - 1);
        let part = (part & Self::MAX_PART) as u64;
        Self(((node.0 as u64) << 48) | (part << Self::LIFE_BITS) | life)
    }

    /// The publisher that is a lane of a node.
    pub const fn lane(node: NodeId, lane: u8, incarnation: Incarnation) -> Self {
        Self::new(node, lane as u16, incarnation)
    }

    /// The publisher that is a host of services of a node.
    pub const fn service(node: NodeId, instance: u8, incarnation: Incarnation) -> Self {
        Self::new(node, Self::FIRST_SERVICE + instance as u16, incarnation)
    }

    /// The node that publishes.
    pub const fn node(self) -> NodeId {
        NodeId((self.0 >> 48) as u16)
    }

    /// Which part of the node.
    pub const fn part(self) -> u16 {
        (self.0 >> Self::LIFE_BITS) as u16 & Self::MAX_PART
    }

    /// The index of the lane, if it is one.
    pub const fn as_lane(self) -> Option<u8> {
        let part = self.part();
        if part <= u8::MAX as u16 { Some(part as u8) } else { None }
    }
}

impl fmt::Debug for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let life = self.0 & ((1 << Self::LIFE_BITS) - 1);
        write!(f, "PublisherId({}.{}@{life:x})", self.node(), self.part())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_of_two_worlds_never_meet() {
        let (one, two) = (WorldNumber::new(1).unwrap(), WorldNumber::new(2).unwrap());
        assert_ne!(EntityId::new(one, 7), EntityId::new(two, 7));
        assert_eq!(WorldNumber::new(WorldNumber::MAX + 1), None);
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in ["", "1", "+00000000000000a", "00000000000000zz", "00000000000000000"] {
            assert_eq!(text.parse::<EntityId>(), Err(MalformedId), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_id_gives_back_its_parts(world in 0..=WorldNumber::MAX, serial in 0u64..1 << SERIAL_BITS) {
            let id = EntityId::new(WorldNumber::new(world).unwrap(), serial);
            prop_assert_eq!((id.world().get(), id.serial()), (world, serial));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<EntityId>(&json).unwrap(), id);
        }

        #[test]
        fn a_publisher_gives_back_its_parts(node: u16, part in 0..=PublisherId::MAX_PART, life: u64) {
            let publisher = PublisherId::new(NodeId(node), part, Incarnation(life));
            prop_assert_eq!((publisher.node(), publisher.part()), (NodeId(node), part));
        }

        #[test]
        fn lanes_and_services_have_parts_of_their_own(number: u8, life: u64) {
            let (node, life) = (NodeId(3), Incarnation(life));
            prop_assert_eq!(PublisherId::lane(node, number, life).as_lane(), Some(number));
            prop_assert_eq!(PublisherId::service(node, number, life).as_lane(), None);
        }
    }
}
