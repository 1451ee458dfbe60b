//! The limits on everything that a stranger can send or a game can make grow.

/// Bytes of a key.
pub const MAX_KEY_BYTES: usize = 128;
/// Bytes (UTF-8) of an avatar's name.
pub const MAX_NAME_BYTES: usize = 48;
/// Bytes of a player's token at least: as much as nobody guesses.
pub const MIN_TOKEN_BYTES: usize = 16;
/// Bytes of a player's token at most.
pub const MAX_TOKEN_BYTES: usize = 64;
/// Bytes (UTF-8) of one utterance.
pub const MAX_SAY_BYTES: usize = 200;
/// Lines that a room remembers for those who come, and that wait in a mailbox.
pub const MAX_CHAT_LINES: usize = 50;
/// Waypoints of a trajectory after its start.
pub const MAX_WAYPOINTS: usize = 8;
/// The farthest a waypoint may lie from the one before, per axis, in 1/64 m (8192 m).
pub const MAX_LEG_UNITS: i32 = 1 << 19;
/// The fastest anything moves, in 1/64 m per second (64 m/s).
pub const MAX_SPEED: u16 = 64 * 64;
/// Documents of one transaction.
pub const MAX_TRANSACTION_DOCUMENTS: usize = 64;
/// Documents that a rule may read and write in one turn: the platform adds the actor's own and the audit of the turn.
pub const MAX_TURN_DOCUMENTS: usize = MAX_TRANSACTION_DOCUMENTS - 2;
/// Bytes of a document's value.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// Bytes of a chunk document's value.
pub const MAX_CHUNK_DOCUMENT_BYTES: usize = 16 * 1024;
/// Slots of a chunk that share a document.
pub const CHUNK_PAGE_SLOTS: u16 = 32;
/// Bytes of what a chunk document says about one slot, its name and punctuation included, with which it always fits.
pub const MAX_OVERRIDE_BYTES: usize = 480;
/// Bytes of what a chunk document says beside its slots, with which it always fits.
pub const MAX_CHUNK_MARGIN_BYTES: usize = 1024;
const _: () = assert!(
    CHUNK_PAGE_SLOTS as usize * MAX_OVERRIDE_BYTES + MAX_CHUNK_MARGIN_BYTES
        <= MAX_CHUNK_DOCUMENT_BYTES
);
/// Outcomes that an avatar's document remembers.
pub const OUTCOME_RING: usize = 16;
/// Bytes of what a command tells its player, as a text of JSON. All of the ring fit into the avatar's document.
pub const MAX_EFFECTS_BYTES: usize = 1536;
/// Bytes of a game's state in an avatar's document, with which every outcome fits beside it.
pub const MAX_STATE_BYTES: usize = 32 * 1024;
/// Bytes of an avatar's document beside the game's state and the effects of its outcomes: name, place, hashes.
const MAX_AVATAR_MARGIN_BYTES: usize = 7 * 1024;
const _: () = assert!(
    MAX_STATE_BYTES + OUTCOME_RING * MAX_EFFECTS_BYTES + MAX_AVATAR_MARGIN_BYTES
        <= MAX_DOCUMENT_BYTES
);
/// Bytes of a command's payload.
pub const MAX_COMMAND_BYTES: usize = 1024;
/// Characters of the key of a grant.
pub const MAX_GRANT_KEY_BYTES: usize = 64;
/// Bytes of what a grant gives.
pub const MAX_GRANT_BYTES: usize = 1024;
/// Bytes (UTF-8) of the reason of a grant.
pub const MAX_GRANT_REASON_BYTES: usize = 200;
/// Bytes of a game's payload in an object record.
pub const MAX_OBJECT_BYTES: usize = 64;
/// Bytes of one message from a client.
pub const MAX_CLIENT_MESSAGE_BYTES: usize = 4 * 1024;
/// Bytes of one message from a server or a peer.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// The body of a call to a service, and that of its answer: either fits a message between nodes, with its key and role.
pub const MAX_CALL_BYTES: usize = MAX_MESSAGE_BYTES / 2;
/// Entities that one publisher has in one channel: slots are 16 bits, and rest after use.
pub const MAX_SLOTS: usize = 32 * 1024;
/// Ticks for which a freed slot is not used again.
pub const SLOT_QUARANTINE_TICKS: u64 = 50;
/// Natural objects of one chunk.
pub const MAX_NATURAL_SLOTS: usize = 256;
