//! The platform's own documents: their forms, versions and how they are read.

pub mod audit;
pub mod avatar;
pub mod lines;
pub mod mailbox;
pub mod reading;
pub mod room;
pub mod schema;
pub mod skeleton;
pub mod token;
pub mod world;
