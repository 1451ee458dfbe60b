//! What a lane decides, one subject per module; `pelago-node` composes them into the lane's machine.
//!
//! Knows no documents, no links and no sockets.

pub mod delivery;
pub mod ghosts;
pub mod movement;
pub mod objects;
pub mod publisher;
pub mod sight;
pub mod slots;
mod small_set;
pub mod timer_wheel;

pub use delivery::{ClientId, Delivery};
pub use ghosts::{Ghost, Ghosts};
pub use movement::{MoveRefusal, MoveRequest, check_move};
pub use objects::Objects;
pub use publisher::{Published, Publisher, Shown};
pub use sight::Sight;
pub use timer_wheel::TimerWheel;
