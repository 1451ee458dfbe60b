//! The tasks that read documents: loads that wait are one statement, so that each sees one instant.

use super::Shared;
use super::connector::{Connector, Purpose};
use super::errors::{Failure, Remedy, read_error};
use super::rows::document;
use super::session::{Session, Statements};
use crate::waiting::Load;
use pelago_model::{Document, Key};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Keys of one statement, exceeded by at most one load; the rest waits for the next.
const MAX_KEYS: usize = 1024;

/// Reads over one connection.
pub(super) struct Loader {
    shared: Arc<Shared>,
    connector: Connector,
}

impl Loader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { connector: Connector::new(shared.clone(), Purpose::Read), shared }
    }

    /// Reads until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        while !self.shared.loads.is_done() {
            // Nothing is taken without a connection: it would be kept from others that have one.
            if self.connector.session().await.is_none() {
                continue;
            }
            let Some(loads) = self.shared.loads.take(choose).await else { return };
            // Meanwhile there may have been reason to doubt that it is the leader's.
            let Some((session, statements)) = self.connector.session().await else {
                self.shared.loads.put_back(loads);
                continue;
            };
            let keys: BTreeSet<&str> =
                loads.iter().flat_map(|load| &load.keys).map(Key::as_str).collect();
            let keys = keys.into_iter().map(str::to_owned).collect();
            match read(session, statements, keys).await {
                Ok(found) => self.answer(loads, &found),
                Err(failure) if failure.remedy() == Remedy::GiveUp => {
                    tracing::error!(%failure, "the database refuses to read");
                    for load in loads {
                        load.answer(Err(read_error(&failure)), &self.shared.tally);
                    }
                }
                Err(failure) => {
                    self.shared.health.is_gone(&failure);
                    self.connector.give_up(&failure);
                    self.shared.loads.put_back(loads);
                }
            }
        }
    }

    fn answer(&self, loads: Vec<Load>, found: &BTreeMap<Key, Document>) {
        for load in loads {
            let document = |key| found.get(key).cloned().unwrap_or(Document::ABSENT);
            let documents = load.keys.iter().map(document).collect();
            load.answer(Ok(documents), &self.shared.tally);
        }
    }
}

fn choose(waiting: &mut VecDeque<Load>) -> Option<Vec<Load>> {
    let (mut loads, mut keys) = (Vec::new(), 0);
    while keys < MAX_KEYS
        && let Some(load) = waiting.pop_front()
    {
        keys += load.keys.len();
        loads.push(load);
    }
    Some(loads).filter(|loads| !loads.is_empty())
}

/// The documents under these keys.
pub(super) async fn read(
    session: &Session,
    statements: &Statements,
    keys: Vec<String>,
) -> Result<BTreeMap<Key, Document>, Failure> {
    let rows = session.within(session.client.query(&statements.load, &[&keys])).await?;
    rows.iter().map(|row| document(row, 0)).collect()
}
