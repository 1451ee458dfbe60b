//! Turns whose rule is broken in a way that hurts whoever runs it: it panics, or does not return. That it failed is
//! committed where its outcome would have been, so that no node runs it for this turn again.

use super::config::StewardConfig;
use super::decide::{Decision, Holder, admit, apply, check_new_grant, nobody};
use super::draft::Draft;
use super::turn::Turn;
use crate::documents::audit::{AuditDocument, Cause};
use crate::documents::avatar::Place;
use crate::grant::Grant;
use crate::turn::{DurableCommand, StewardCall};
use pelago_game::Changes;
use pelago_model::Key;
use std::collections::BTreeSet;

/// Decides that a turn has failed, and applies that to the draft. Adds the documents that it uses to `touched`.
pub(super) fn fail(
    config: &StewardConfig,
    turn: &Turn,
    draft: &mut Draft,
    touched: &mut BTreeSet<Key>,
    why: Option<String>,
) -> Decision {
    let failed = match &*turn.call {
        StewardCall::Command(command) => fail_command(config, command, draft, touched, why),
        StewardCall::Grant(grant) => fail_grant(config, turn, grant, draft, touched, why),
    };
    match failed {
        Ok(decision) | Err(decision) => decision,
    }
}

/// The failure is an outcome of the avatar's ring.
fn fail_command(
    config: &StewardConfig,
    command: &DurableCommand,
    draft: &mut Draft,
    touched: &mut BTreeSet<Key>,
    why: Option<String>,
) -> Result<Decision, Decision> {
    let DurableCommand { actor, payload, .. } = command;
    let Some(mut avatar) = Holder::read(actor.avatar, draft)? else {
        return Ok(nobody(&StewardCall::Command(command.clone())));
    };
    admit(config, command, &avatar)?;
    let chain = avatar.document.record_failure(payload).chain.0;
    avatar.document.place =
        Place { island: actor.island, position: actor.position, at: actor.received };
    apply(draft, touched, (Vec::new(), Vec::new()), &avatar, None)?;
    Ok(Decision::Failed { chain, why })
}

/// The failure is the audit of the grant, which nothing has come of.
fn fail_grant(
    config: &StewardConfig,
    turn: &Turn,
    grant: &Grant,
    draft: &mut Draft,
    touched: &mut BTreeSet<Key>,
    why: Option<String>,
) -> Result<Decision, Decision> {
    let Some(avatar) = Holder::read(grant.avatar, draft)? else { return Ok(nobody(&turn.call)) };
    let chain = avatar.document.chain.0;
    check_new_grant(config, turn, grant, &avatar, draft)?;
    let audit = AuditDocument {
        avatar: grant.avatar,
        epoch: avatar.document.epoch,
        at: grant.received,
        cause: Cause::Grant {
            key: grant.key.clone(),
            what: grant.what.clone(),
            reason: grant.reason.clone(),
            effects: String::new(),
            failed: true,
        },
        changes: Changes::default(),
    };
    apply(draft, touched, (Vec::new(), Vec::new()), &avatar, Some(audit))?;
    Ok(Decision::Failed { chain, why })
}
