//! Verification: the journal of acknowledged commands against the books of the world.

use super::bot::hex;
use crate::session::{Transport, audit, connect};
use anyhow::{Context, Result};
use pelago_model::EntityId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) avatar: EntityId,
    pub(super) sequence: u64,
    pub(super) chain: String,
}

/// What verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Lines of the journal.
    pub acknowledged: u64,
    /// Avatars compared.
    pub avatars: u64,
    /// What is wrong; empty if all is well.
    pub objections: Vec<String>,
}

/// Compares a journal with the books of a node.
///
/// # Errors
/// If the journal cannot be read or the node does not open its books.
pub async fn verify(journal: &Path, address: &str, transport: &Transport) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut last: BTreeMap<String, Line> = BTreeMap::new();
    let file = File::open(journal).with_context(|| format!("journal {}", journal.display()))?;
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line: Line = serde_json::from_str(&line?)
            .with_context(|| format!("line {} of the journal", number + 1))?;
        verdict.acknowledged += 1;
        if let Some(before) = last.get(&line.name) {
            let object = |text: &str| format!("{} {}: {text}", line.name, line.sequence);
            if before.avatar != line.avatar {
                verdict.objections.push(object("the name has changed its avatar"));
            }
            if before.sequence >= line.sequence {
                verdict.objections.push(object("acknowledged twice"));
            }
        }
        last.insert(line.name.clone(), line);
    }
    let mut connection =
        connect(address, transport, None).await.with_context(|| format!("node {address}"))?;
    for line in last.values() {
        let books = audit(&mut connection, &line.name).await?;
        verdict.avatars += 1;
        let at_line = books.outcomes.iter().find(|outcome| outcome.sequence == line.sequence);
        let chain = if books.sequence == line.sequence {
            Some(hex(&books.chain))
        } else {
            at_line.map(|outcome| hex(&outcome.chain))
        };
        // One more may have been committed whose acknowledgement nobody lived to hear.
        let plausible = books.sequence == line.sequence || books.sequence == line.sequence + 1;
        if books.avatar != line.avatar.0 {
            verdict.objections.push(format!("{}: the books know another avatar", line.name));
        } else if !plausible {
            verdict.objections.push(format!(
                "{}: {} was acknowledged, the books are at {}",
                line.name, line.sequence, books.sequence
            ));
        } else if chain.as_ref() != Some(&line.chain) {
            verdict.objections.push(format!(
                "{}: the outcomes up to {} are others in the books",
                line.name, line.sequence
            ));
        }
    }
    for total in audit(&mut connection, "").await?.totals {
        if total.held + total.lying != total.gathered - total.consumed {
            verdict.objections.push(format!(
                "{}: {} held + {} lying is not {} gathered - {} consumed",
                total.item, total.held, total.lying, total.gathered, total.consumed
            ));
        }
    }
    Ok(verdict)
}
