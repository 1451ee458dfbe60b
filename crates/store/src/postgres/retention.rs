//! Removing documents without a trace, for rules of retention.

use super::Shared;
use super::connector::{Connector, Purpose};
use super::errors::read_error;
use crate::ReadError;
use pelago_model::Key;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;

/// As any write: not once the fence is passed.
const FORGET: &str = "
    WITH fence AS (
        SELECT 1 FROM pelago_documents WHERE key = $2::text AND revision = $3::bigint FOR SHARE
    )
    DELETE FROM pelago_documents
    WHERE key = ANY($1::text[]) AND ($2::text IS NULL OR EXISTS (SELECT FROM fence))";

/// A connection of its own, by one at a time: nobody who plays waits for it.
pub(super) struct Retention {
    shared: Arc<Shared>,
    connector: Mutex<Connector>,
}

impl Retention {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let connector = Mutex::new(Connector::new(shared.clone(), Purpose::Commit));
        Self { shared, connector }
    }

    pub(super) async fn forget(&self, keys: &[Key]) -> Result<(), ReadError> {
        let keys: Vec<&str> = keys.iter().map(Key::as_str).collect();
        let fence = self.shared.fence();
        let fence_key = fence.as_ref().map(|fence| fence.key.as_str());
        let fence_revision = fence.as_ref().map(|fence| fence.revision.0.cast_signed());
        let mut connector = self.connector.lock().await;
        let Some((session, _)) = connector.session().await else {
            return Err(ReadError::Engine("the database is gone".to_owned()));
        };
        let parameters: [&(dyn ToSql + Sync); 3] = [&keys, &fence_key, &fence_revision];
        let done = session.within(session.client.execute(FORGET, &parameters)).await;
        done.map(drop).map_err(|failure| {
            connector.give_up(&failure);
            read_error(&failure)
        })
    }
}
