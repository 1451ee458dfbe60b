//! How one turn is decided: over the documents as the turns before it in the batch left them.

use super::config::StewardConfig;
use super::draft::Draft;
use super::turn::Turn;
use crate::documents::audit::{AuditDocument, Cause};
use crate::documents::avatar::{AVATAR_SCHEMA, AvatarDocument, ChainHash, Place, SequenceCheck};
use crate::documents::schema::read;
use crate::grant::Grant;
use crate::turn::{DurableCommand, DurableResult, StewardCall};
use bytes::Bytes;
use pelago_game::{Actor, Changes, DurableTurn, Refusal, TurnEnd, json, run_durable, run_grant};
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
    let avatar = match Holder::read(turn.avatar(), draft) {
        Ok(Some(avatar)) => avatar,
        Ok(None) => return nobody(&turn.call),
        Err(decision) => return decision,
    };
    let decided = match &*turn.call {
        StewardCall::Command(command) => run_command(config, command, avatar, draft, touched),
        StewardCall::Grant(grant) => run_granting(config, turn, grant, avatar, draft, touched),
    };
    match decided {
        Ok(decision) | Err(decision) => decision,
    }
}

/// The avatar's document as it is in the draft.
struct Holder {
    id: EntityId,
    key: Key,
    revision: Revision,
    document: AvatarDocument,
}

impl Holder {
    fn read(id: EntityId, draft: &Draft) -> Result<Option<Self>, Decision> {
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
    let sabotage = config.sabotage;
    let check = avatar.document.check(actor.sequence, payload);
    let is_known = matches!(check, SequenceCheck::Known(_));
    let is_let_in = sabotage.ignore_epoch || sabotage.answer_old_epochs && is_known;
    if avatar.document.epoch != actor.epoch && !is_let_in {
        return Ok(refuse("superseded", "You are playing from somewhere else."));
    }
    match check {
        SequenceCheck::Next => {}
        SequenceCheck::Known(outcome) => {
            let (effects, chain) = (outcome.effects.into(), outcome.chain.0);
            return Ok(Decision::Answer(DurableResult::Done { effects, chain }));
        }
        SequenceCheck::Other => {
            return Ok(refuse("repeated", "That number was another command's."));
        }
        SequenceCheck::Stale => return Ok(refuse("stale", "That was too long ago.")),
        SequenceCheck::OutOfOrder => {
            return Ok(refuse("out_of_order", "Something must come first."));
        }
    }
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
    let key = Key::grant(grant.avatar, &grant.key);
    let Some(known) = draft.view.get(&key) else { return Err(Decision::Missing(vec![key])) };
    let known: Option<AuditDocument> =
        read(known).map_err(|error| Decision::Broken(format!("{key}: {error}")))?;
    let chain = avatar.document.chain.0;
    let is_new = known.is_none();
    if let Some(known) = known.filter(|_| !config.sabotage.repeat_grants) {
        return Ok(match known.cause {
            Cause::Grant { what, reason, effects, .. }
                if (&what, &reason) == (&grant.what, &grant.reason) =>
            {
                let result = DurableResult::Done { effects: effects.clone().into(), chain };
                // Committed by ourselves a moment ago without our knowing: nobody was told.
                match turn.attempts {
                    0 => Decision::Answer(result),
                    _ => Decision::Granted(result, notify(config, &avatar, &effects)),
                }
            }
            _ => refuse("key_used", "This key was used for another grant."),
        });
    }
    let Place { island, position, .. } = avatar.document.place;
    let actor = Actor {
        avatar: grant.avatar,
        epoch: avatar.document.epoch,
        sequence: avatar.document.sequence,
        island,
        position,
        received: grant.received,
    };
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
        },
        changes: decided.changes,
    };
    let written = (decided.checks, decided.writes);
    apply(draft, touched, written, &avatar, is_new.then_some(audit))?;
    let notify = notify(config, &avatar, &decided.effects);
    let result = DurableResult::Done { effects: decided.effects.into(), chain };
    Ok(Decision::Granted(result, notify))
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
    }
}

/// Adds a turn to the draft, with the avatar's document and the audit.
fn apply(
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

fn nobody(call: &StewardCall) -> Decision {
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
