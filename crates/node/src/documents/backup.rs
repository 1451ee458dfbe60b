//! The mark of the last backup.

use pelago_model::WorldTime;
use serde::{Deserialize, Serialize};

/// The schema version of marks of backups.
pub const BACKUP_SCHEMA: u16 = 1;

/// Up to when the last whole backup has everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDocument {
    /// When it began: everything that was committed before is in it.
    pub began: WorldTime,
}
