//! The schema versions of the platform's documents.

use crate::documents::audit::{AUDIT_SCHEMA, AuditDocument};
use crate::documents::avatar::{
    AVATAR_SCHEMA, AvatarDocument, NAME_SCHEMA, NameDocument, PLACE_SCHEMA, PlaceDocument,
    SERIALS_SCHEMA, SerialsDocument,
};
use crate::documents::backup::{BACKUP_SCHEMA, BackupDocument};
use crate::documents::clock::{CLOCK_SCHEMA, ClockDocument};
use crate::documents::lease::{LEASE_SCHEMA, LeaseDocument};
use crate::documents::mailbox::{MAILBOX_SCHEMA, MailboxDocument};
use crate::documents::probe::{PROBE_SCHEMA, ProbeDocument};
use crate::documents::room::{ROOM_SCHEMA, RoomDocument};
use crate::documents::skeleton::{SKELETON_SCHEMA, SkeletonDocument};
use crate::documents::world::{ISLAND_SCHEMA, WORLD_SCHEMA, WorldDocument};
use pelago_game::IslandSpec;

pub use crate::documents::reading::{Stored, Unreadable, read};

macro_rules! stored {
    ($($document:ty: $kind:literal, $schema:expr;)*) => {
        $(impl Stored for $document {
            const KIND: &'static str = $kind;
            const SCHEMA: u16 = $schema;
        })*

        /// The newest schema version of a kind of the platform's documents that this build reads; `None` of a game's kinds.
        pub fn newest(kind: &str) -> Option<u16> {
            match kind {
                $(<$document>::KIND => Some(<$document>::SCHEMA),)*
                _ => None,
            }
        }
    };
}

stored! {
    AuditDocument: "audit", AUDIT_SCHEMA;
    AvatarDocument: "avatar", AVATAR_SCHEMA;
    BackupDocument: "backup", BACKUP_SCHEMA;
    ClockDocument: "clock", CLOCK_SCHEMA;
    IslandSpec: "island", ISLAND_SCHEMA;
    LeaseDocument: "lease", LEASE_SCHEMA;
    MailboxDocument: "mailbox", MAILBOX_SCHEMA;
    NameDocument: "name", NAME_SCHEMA;
    PlaceDocument: "place", PLACE_SCHEMA;
    ProbeDocument: "probe", PROBE_SCHEMA;
    RoomDocument: "room", ROOM_SCHEMA;
    SerialsDocument: "ids", SERIALS_SCHEMA;
    SkeletonDocument: "skeleton", SKELETON_SCHEMA;
    WorldDocument: "world", WORLD_SCHEMA;
}
