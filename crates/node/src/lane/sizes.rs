//! How much a lane holds.

use super::Lane;
use super::introductions::MAX_HELD_FRAMES;
use super::left::MAX_LEFT;
use pelago_model::Size;
use pelago_model::limits::MAX_SLOTS;

/// Chunks that one player can be the only one to watch: those around two places.
const MAX_CHANNELS_PER_PLAYER: usize = 64;
/// Chunks around a player that has stood still for a while.
const REST_CHANNELS_PER_PLAYER: usize = 9;
/// Calls of one player: its durable command, and live ones that wait for another lane.
const MAX_CALLS_PER_PLAYER: usize = 256;
/// Requests of one player to the store, while it does not answer.
const MAX_REQUESTS_PER_PLAYER: usize = 256;

/// Times at which lines have waited for long enough: one for each reading that began in the last half second.
const MAX_SPEAKERS: usize = 2 * MAX_SLOTS;

impl Lane {
    /// How full everything is that can grow.
    pub fn sizes(&self) -> Vec<Size> {
        let players = self.connections.len();
        let channels = players * REST_CHANNELS_PER_PLAYER;
        let max_channels = MAX_SLOTS * MAX_CHANNELS_PER_PLAYER;
        let answers = self.publisher.channels().1;
        let (introductions, held_frames) = self.introductions.sizes();
        let mut sizes = vec![
            Size::table("players of a lane", players, MAX_SLOTS, MAX_SLOTS),
            Size::table("avatars of a lane", self.sessions.len(), MAX_SLOTS, players),
            Size::table("avatars that have just left", self.left.len(), MAX_LEFT, MAX_LEFT),
            Size::table("reals of a lane", self.reals.len(), MAX_SLOTS, players),
            Size::queue("calls of a lane", self.calls.len(), MAX_SLOTS * MAX_CALLS_PER_PLAYER),
            Size::table(
                "requests of a lane",
                self.requests.len(),
                MAX_SLOTS * MAX_REQUESTS_PER_PLAYER,
                // A checkpoint of everybody, and the next look at every mailbox, room and chunk may be under way.
                2 * players + self.rooms.len() + channels,
            ),
            Size::queue("speakers whose document is read", self.speakers.len(), MAX_SPEAKERS),
            Size::table("rooms of a lane", self.rooms.len(), MAX_SLOTS, players),
            Size::table("chunks in sight", self.objects.chunks(), max_channels, channels),
            Size::queue("subscriptions to be answered", answers, max_channels),
            Size::queue("introductions of a lane", introductions, max_channels),
            Size::queue("frames held for introductions", held_frames, MAX_HELD_FRAMES),
        ];
        sizes.extend(self.ghosts.sizes());
        sizes.extend(self.publisher.sizes());
        sizes.extend(self.delivery.sizes());
        sizes
    }

    /// Channels that it publishes on, and streams that its clients read or would.
    pub fn streams(&self) -> (usize, usize) {
        (self.publisher.channels().0, self.delivery.streams())
    }
}
