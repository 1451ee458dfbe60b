//! The platform's own documents: their forms, versions and how they are read.

pub mod audit;
pub mod avatar;
pub mod backup;
pub mod clock;
pub mod lease;
pub mod lines;
pub mod mailbox;
pub mod probe;
pub mod reading;
pub mod room;
pub mod schema;
pub mod skeleton;
pub mod token;
pub mod world;
