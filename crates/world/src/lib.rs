//! What a lane decides, one subject per module; `pelago-node` composes them into the lane's machine.
//!
//! Knows no documents, no links and no sockets.

pub mod agenda;
pub mod delivery;
mod few;
pub mod ghosts;
pub mod movement;
pub mod objects;
pub mod publisher;
pub mod sight;
pub mod slots;

pub use agenda::Agenda;
pub use delivery::{ClientId, Delivery};
pub use ghosts::{Ghost, Ghosts};
pub use movement::{MoveRefusal, MoveRequest, check_move};
pub use objects::Objects;
pub use publisher::{Published, Publisher, Shown};
pub use sight::Sight;
