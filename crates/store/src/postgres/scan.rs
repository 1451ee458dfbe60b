//! Scans: pages in the order of the keys, of one instant, over a connection of their own.

use super::Shared;
use super::errors::{Failure, read_error};
use super::rows::document;
use super::session::Session;
use crate::ReadError;
use pelago_model::{Document, Key};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;

/// Documents of a page: at most 16 MiB.
const PAGE: usize = 256;
/// How long a page may take: longer than the database may work on one.
const PAGE_TIME: Duration = Duration::from_secs(65);
/// A scan holds nothing that others wait for, but keeps the database from forgetting old rows.
const SET_UP: &str = "
    SET statement_timeout = '1min';
    SET idle_in_transaction_session_timeout = '10min';
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const NEXT_PAGE: &str = "
    SELECT key, revision, schema, value FROM pelago_documents
    WHERE key > $1 AND key >= $2 AND key < $3 AND revision <> 0
    ORDER BY key LIMIT $4";

type Page = Result<Vec<(Key, Document)>, ReadError>;

/// Visits documents on the caller's thread, page by page.
pub(super) fn scan(
    handle: &Handle,
    shared: &Arc<Shared>,
    prefix: &str,
    after: Option<&Key>,
    visit: &mut dyn FnMut(Key, Document) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    // Asks for the next page. When it is dropped, the connection ends.
    let (ask, asked) = tokio::sync::mpsc::channel(1);
    let after = after.map(|key| key.as_str().to_owned()).unwrap_or_default();
    handle.spawn(serve(shared.clone(), prefix.to_owned(), after, asked));
    loop {
        let (sender, page) = channel();
        // There is room, since the last one was answered.
        ask.try_send(sender).map_err(|_| ReadError::Busy)?;
        let page: Vec<(Key, Document)> = page.recv().map_err(|_| ReadError::Busy)??;
        let is_last = page.len() < PAGE;
        for (key, document) in page {
            if visit(key, document).is_break() {
                return Ok(());
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Answers with pages until nobody asks any more, or one cannot be read.
async fn serve(
    shared: Arc<Shared>,
    prefix: String,
    mut after: String,
    mut asked: Receiver<Sender<Page>>,
) {
    let session = open(&shared).await;
    while let Some(sender) = asked.recv().await {
        let page = match &session {
            Ok(session) => {
                read(session, &prefix, &after).await.map_err(|failure| read_error(&failure))
            }
            Err(failure) => Err(read_error(failure)),
        };
        if let Ok(documents) = &page
            && let Some((key, _)) = documents.last()
        {
            after = key.as_str().to_owned();
        }
        drop(sender.send(page));
    }
}

async fn open(shared: &Shared) -> Result<Session, Failure> {
    let session = shared.hosts.open(&shared.settings).await?;
    session.within(session.client.batch_execute(SET_UP)).await?;
    Ok(session)
}

async fn read(
    session: &Session,
    prefix: &str,
    after: &str,
) -> Result<Vec<(Key, Document)>, Failure> {
    // Greater than every character of a key.
    let end = format!("{prefix}~");
    // A page may take longer than what players wait for: a little more than the database's own limit.
    let parameters: [&(dyn ToSql + Sync); 4] = [&after, &prefix, &end, &(PAGE as i64)];
    let asked = session.client.query(NEXT_PAGE, &parameters);
    let rows = timeout(PAGE_TIME, asked).await.map_err(|_| Failure::Silent)??;
    rows.iter().map(|row| document(row, 0)).collect()
}
