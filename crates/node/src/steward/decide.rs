//! How one turn is decided: over the documents as the turns before it in the batch left them.

use super::config::StewardConfig;
use super::draft::Draft;
use super::turn::Turn;
use crate::documents::audit::{AuditDocument, Cause};
use crate::documents::avatar::{
    AVATAR_SCHEMA, AvatarDocument, ChainHash, Place, SequenceCheck, StoredOutcome,
};
use crate::documents::schema::read;
use crate::grant::Grant;
use crate::turn::{DurableCommand, DurableResult, StewardCall};
use bytes::Bytes;
use pelago_game::{
    Actor, Changes, DurableTurn, Refusal, RulePanic, TurnEnd, guarded, json, run_durable, run_grant,
};
use pelago_model::limits::MAX_DOCUMENT_BYTES;
use pelago_model::{Check, EntityId, Epoch, Key, NodeId, Revision, Write};
use std::collections::BTreeSet;

/// What became of a turn.
pub(super) enum Decision {
    Answer(DurableResult),
    /// The same, and what the avatar's session is told.
    Granted(DurableResult, Box<Notice>),
    /// Our own or the game's fault; the text is for the log.
    Broken(String),
    /// A function of the game has panicked. The draft is as it was.
    Panicked(RulePanic),
    /// The rule is broken, and is not run for this turn again once that is committed.
    Failed {
        /// The avatar's hash chain after it.
        chain: [u8; 32],
        /// For the log, unless it is there already.
        why: Option<String>,
    },
    /// These documents are wanted first.
    Missing(Vec<Key>),
    /// The transaction has no room for it.
    Full,
}

/// Something that the session of an avatar is told once it is committed.
pub(super) struct Notice {
    pub(super) node: NodeId,
    pub(super) avatar: EntityId,
    pub(super) epoch: Epoch,
    pub(super) payload: Bytes,
}

/// Decides one turn and applies it to the draft. Adds the documents that it uses to `touched`.
pub(super) fn decide(
    config: &StewardConfig,
    turn: &Turn,
    draft: &mut Draft,
    touched: &mut BTreeSet<Key>,
) -> Decision {
    // The draft changes after the last of the game's functions has returned, so that a panic leaves it whole.
    match guarded(|| run(config, turn, draft, touched)) {
        Ok(Ok(decision) | Err(decision)) => decision,
        Err(panic) => Decision::Panicked(panic),
    }
}

fn run(
    config: &StewardConfig,
    turn: &Turn,
    draft: &mut Draft,
    touched: &mut BTreeSet<Key>,
) -> Result<Decision, Decision> {
    let Some(avatar) = Holder::read(turn.avatar(), draft)? else { return Ok(nobody(&turn.call)) };
    match &*turn.call {
        StewardCall::Command(command) => run_command(config, command, avatar, draft, touched),
        StewardCall::Grant(grant) => run_granting(config, turn, grant, avatar, draft, touched),
    }
}

/// The avatar's document as it is in the draft.
pub(super) struct Holder {
    id: EntityId,
    key: Key,
    revision: Revision,
    pub(super) document: AvatarDocument,
}

impl Holder {
    pub(super) fn read(id: EntityId, draft: &Draft) -> Result<Option<Self>, Decision> {
        let key = Key::avatar(id);
        let Some(found) = draft.view.get(&key) else { return Err(Decision::Missing(vec![key])) };
        let revision = found.revision;
        let document = read(found).map_err(|error| Decision::Broken(format!("{key}: {error}")))?;
        Ok(document.map(|document| Self { id, key, revision, document }))
    }

    fn write(&self) -> Result<Write, Decision> {
        let Self { key, revision, document, .. } = self;
        let value =
            json::encode(document).map_err(|error| Decision::Broken(format!("{key}: {error}")))?;
        if value.len() > MAX_DOCUMENT_BYTES {
            return Err(refuse("full", "You cannot hold any more."));
        }
        let (key, expected) = (key.clone(), *revision);
        Ok(Write { key, expected, schema: AVATAR_SCHEMA, value: Some(value) })
    }
}

/// What a rule decided, before it is applied.
struct Decided {
    checks: Vec<Check>,
    writes: Vec<Write>,
    effects: String,
    changes: Changes,
}

fn run_command(
    config: &StewardConfig,
    command: &DurableCommand,
    mut avatar: Holder,
    draft: &mut Draft,
    touched: &mut BTreeSet<Key>,
) -> Result<Decision, Decision> {
    let DurableCommand { actor, payload, .. } = command;
    admit(config, command, &avatar)?;
    let seed = seed(config, actor.avatar, &actor.sequence.0.to_le_bytes());
    let run = |turn: DurableTurn<'_>| run_durable(&*config.game, turn, payload);
    let decided = run_rule(config, actor, &mut avatar.document, draft, seed, run)?;
    avatar.document.place =
        Place { island: actor.island, position: actor.position, at: actor.received };
    let outcome = avatar.document.record(payload, decided.effects);
    let audit = (!decided.changes.is_empty()).then(|| AuditDocument {
        avatar: actor.avatar,
        epoch: actor.epoch,
        at: actor.received,
        cause: Cause::Command { sequence: actor.sequence, command: ChainHash::of(payload) },
        changes: decided.changes,
    });
    apply(draft, touched, (decided.checks, decided.writes), &avatar, audit)?;
    let (effects, chain) = (outcome.effects.into(), outcome.chain.0);
    Ok(Decision::Answer(DurableResult::Done { effects, chain }))
}

fn run_granting(
    config: &StewardConfig,
    turn: &Turn,
    grant: &Grant,
    mut avatar: Holder,
    draft: &mut Draft,
    touched: &mut BTreeSet<Key>,
) -> Result<Decision, Decision> {
    let is_new = match check_new_grant(config, turn, grant, &avatar, draft) {
        Ok(()) => true,
        Err(Decision::Answer(_) | Decision::Granted(..)) if config.sabotage.repeat_grants => false,
        Err(decision) => return Err(decision),
    };
    let chain = avatar.document.chain.0;
    let Place { island, position, .. } = avatar.document.place;
    let actor = Actor {
        avatar: grant.avatar,
        epoch: avatar.document.epoch,
        sequence: avatar.document.sequence,
        island,
        position,
        received: grant.received,
    };
    let key = Key::grant(grant.avatar, &grant.key);
    let seed = seed(config, grant.avatar, key.as_str().as_bytes());
    let run = |turn: DurableTurn<'_>| run_grant(&*config.game, turn, grant.what.as_bytes());
    let decided = run_rule(config, &actor, &mut avatar.document, draft, seed, run)?;
    let audit = AuditDocument {
        avatar: grant.avatar,
        epoch: actor.epoch,
        at: grant.received,
        cause: Cause::Grant {
            key: grant.key.clone(),
            what: grant.what.clone(),
            reason: grant.reason.clone(),
            effects: decided.effects.clone(),
            failed: false,
        },
        changes: decided.changes,
    };
    let notify = notify(config, &avatar, &decided.effects);
    let written = (decided.checks, decided.writes);
    apply(draft, touched, written, &avatar, is_new.then_some(audit))?;
    let result = DurableResult::Done { effects: decided.effects.into(), chain };
    Ok(Decision::Granted(result, notify))
}

/// Whether a command is its session's next one. If not, what it is answered.
pub(super) fn admit(
    config: &StewardConfig,
    DurableCommand { actor, payload, .. }: &DurableCommand,
    avatar: &Holder,
) -> Result<(), Decision> {
    let sabotage = config.sabotage;
    let check = avatar.document.check(actor.sequence, payload);
    let is_known = matches!(check, SequenceCheck::Known(_));
    let is_let_in = sabotage.ignore_epoch || sabotage.answer_old_epochs && is_known;
    if avatar.document.epoch != actor.epoch && !is_let_in {
        return Err(refuse("superseded", "You are playing from somewhere else."));
    }
    Err(match check {
        SequenceCheck::Next => return Ok(()),
        SequenceCheck::Known(StoredOutcome { chain, failed: true, .. }) => {
            Decision::Answer(DurableResult::Failed { chain: chain.0 })
        }
        SequenceCheck::Known(StoredOutcome { effects, chain, .. }) => {
            let (effects, chain) = (effects.into(), chain.0);
            Decision::Answer(DurableResult::Done { effects, chain })
        }
        SequenceCheck::Other => refuse("repeated", "That number was another command's."),
        SequenceCheck::Stale => refuse("stale", "That was too long ago."),
        SequenceCheck::OutOfOrder => refuse("out_of_order", "Something must come first."),
    })
}

/// Whether a grant has to be carried out. If it was before, what it is answered.
pub(super) fn check_new_grant(
    config: &StewardConfig,
    turn: &Turn,
    grant: &Grant,
    avatar: &Holder,
    draft: &Draft,
) -> Result<(), Decision> {
    let key = Key::grant(grant.avatar, &grant.key);
    let Some(known) = draft.view.get(&key) else { return Err(Decision::Missing(vec![key])) };
    let known: Option<AuditDocument> =
        read(known).map_err(|error| Decision::Broken(format!("{key}: {error}")))?;
    let Some(known) = known else { return Ok(()) };
    let chain = avatar.document.chain.0;
    Err(match known.cause {
        Cause::Grant { what, reason, effects, failed, .. }
            if (&what, &reason) == (&grant.what, &grant.reason) =>
        {
            let result = DurableResult::Done { effects: effects.clone().into(), chain };
            match turn.attempts {
                _ if failed => Decision::Answer(DurableResult::Failed { chain }),
                0 => Decision::Answer(result),
                // Committed by ourselves a moment ago without our knowing: nobody was told.
                _ => Decision::Granted(result, notify(config, avatar, &effects)),
            }
        }
        _ => refuse("key_used", "This key was used for another grant."),
    })
}

/// Runs a rule. The new game state of the avatar is in `avatar` afterwards.
fn run_rule(
    config: &StewardConfig,
    actor: &Actor,
    avatar: &mut AvatarDocument,
    draft: &Draft,
    seed: [u8; 32],
    run: impl FnOnce(DurableTurn<'_>) -> TurnEnd,
) -> Result<Decided, Decision> {
    let Some(land) = config.lands.get(&actor.island) else {
        return Err(Decision::Broken(format!("no land for island {}", actor.island)));
    };
    let turn = DurableTurn { actor, state: &avatar.game, documents: &draft.view, land, seed };
    match run(turn) {
        TurnEnd::Done { checks, writes, state, effects, changes } => {
            let Ok(effects) = String::from_utf8(effects.to_vec()) else {
                return Err(Decision::Broken("the effects are not text".into()));
            };
            avatar.game = state;
            Ok(Decided { checks, writes, effects, changes })
        }
        TurnEnd::Missing(keys) => Err(Decision::Missing(keys)),
        TurnEnd::Refused(refusal) => Err(Decision::Answer(DurableResult::Refused(refusal))),
        TurnEnd::Broken(text) => Err(Decision::Broken(text)),
        TurnEnd::Panicked(words) => Err(Decision::Panicked(RulePanic(words))),
    }
}

/// Adds a turn to the draft, with the avatar's document and the audit.
pub(super) fn apply(
    draft: &mut Draft,
    touched: &mut BTreeSet<Key>,
    (checks, mut writes): (Vec<Check>, Vec<Write>),
    avatar: &Holder,
    audit: Option<AuditDocument>,
) -> Result<(), Decision> {
    writes.push(avatar.write()?);
    let audit = audit.map(|audit| audit.write()).transpose();
    writes.extend(audit.map_err(Decision::Broken)?);
    touched.extend(checks.iter().map(|check| check.key.clone()));
    touched.extend(writes.iter().map(|write| write.key.clone()));
    if draft.apply(checks, writes) { Ok(()) } else { Err(Decision::Full) }
}

/// The notice for the player of the avatar: what the avatar got, and its state after so many commands.
fn notify(config: &StewardConfig, avatar: &Holder, effects: &str) -> Box<Notice> {
    let Holder { id, document, .. } = avatar;
    let view = config.game.player_view(&document.game);
    let view = String::from_utf8_lossy(&view);
    let sequence = document.sequence.0;
    let text = format!(r#"{{"granted":{effects},"sequence":{sequence},"state":{view}}}"#);
    let (node, epoch, payload) = (document.owner, document.epoch, Bytes::from(text));
    Box::new(Notice { node, avatar: *id, epoch, payload })
}

pub(super) fn nobody(call: &StewardCall) -> Decision {
    match call {
        StewardCall::Command(_) => refuse("superseded", "This avatar is no more."),
        StewardCall::Grant(_) => refuse("no_such_avatar", "There is no such avatar."),
    }
}

fn refuse(code: &'static str, sentence: &'static str) -> Decision {
    Decision::Answer(DurableResult::Refused(Refusal::new(code, sentence)))
}

/// From the server's secret and the turn's id, so that it is the same in every run and nobody's guess.
fn seed(config: &StewardConfig, avatar: EntityId, turn: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&config.secret);
    hasher.update(&avatar.0.to_le_bytes());
    hasher.update(turn);
    *hasher.finalize().as_bytes()
}
