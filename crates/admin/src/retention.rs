//! Retention: what is removed from the store by age, in the background, a little at a time.
//!
//! Off by default. Of all kinds only the audits of commands grow for ever and are needed by nobody who plays: rooms and
//! mailboxes keep a fixed number of lines, the feed a fixed number of changes. An audit goes when it is older than the
//! rule says, when a whole backup has it (`pelago ctl backup` leaves a mark that says up to when it has everything), and
//! when a sink that is told of audits has been told of it. The audits of grants stay: they are what keeps a grant from
//! being granted twice.

use crate::sink::Following;
use anyhow::{Result, bail};
use metrics::counter;
use pelago_model::{Backoff, Key, Retry, WorldTime};
use pelago_node::documents::audit::AuditDocument;
use pelago_node::documents::backup::BackupDocument;
use pelago_node::documents::schema::read;
use pelago_runtime::AdminCalls;
use pelago_runtime::admin_calls::{Question, StatusAnswer, ask_all};
use pelago_store::{MAX_FORGOTTEN, ReadError, Store, load_now};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Documents that are looked at in one step.
const MAX_LOOKED_AT: usize = 1024;
/// The pause between two steps.
const STEP_EVERY: Duration = Duration::from_millis(200);
/// The pause before everything is looked through again, and between looks whether a rule may be followed at all.
const ROUND_EVERY: Duration = Duration::from_secs(60);
/// The pauses after a step that failed.
const AGAIN: Backoff = Backoff { first_ms: 1000, longest_ms: 60_000, attempts: Backoff::ENDLESS };
/// A command is committed some time after the moment that its audit bears; a backup may have begun in between.
const COMMITTED_WITHIN_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// The section `[retention]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Audits of commands are removed when they are older than so many days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_days: Option<u32>,
}

impl RetentionConfig {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// Names the key.
    pub fn check(&self) -> Result<()> {
        if self.audit_days == Some(0) {
            bail!("retention.audit_days is at least 1: leave it out to keep audits for ever");
        }
        Ok(())
    }
}

/// The rule, and what it depends on.
pub struct Retention {
    store: Arc<dyn Store>,
    calls: Arc<dyn AdminCalls>,
    audit_days: u32,
    /// The sink, if it is told of audits.
    sink: Option<Arc<Following>>,
    /// Up to which key this round has come.
    after: Option<Key>,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is more to look at.
    More,
    /// Everything was looked at, or nothing may be removed now.
    Done,
}

impl Retention {
    /// The rule of a configuration; `None` if it removes nothing. `sink` is the one that is told of audits.
    pub fn new(
        config: &RetentionConfig,
        store: Arc<dyn Store>,
        calls: Arc<dyn AdminCalls>,
        sink: Option<Arc<Following>>,
    ) -> Option<Self> {
        metrics::describe_counter!(
            "pelago_retention_removed_total",
            "Documents that a rule of retention has removed, by kind."
        );
        let audit_days = config.audit_days?;
        Some(Self { store, calls, audit_days, sink, after: None })
    }

    /// Removes what the rule names until `stop` becomes true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut retry = Retry::new(AGAIN);
        loop {
            let step = tokio::select! {
                step = self.step() => step,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let wait = match step {
                Ok(step) => {
                    retry.succeeded();
                    if step == Step::More { STEP_EVERY } else { ROUND_EVERY }
                }
                Err(error) => {
                    let pause = retry.pause(RandomState::new().hash_one(()));
                    tracing::warn!(error = format!("{error:#}"), ?pause, "nothing can be removed");
                    pause
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Looks at some documents and removes those that may go.
    async fn step(&mut self) -> Result<Step> {
        if self.sink.as_ref().is_some_and(|sink| !sink.has_told_everything()) {
            return Ok(Step::Done);
        }
        let Some(now) = self.world_time().await else { return Ok(Step::Done) };
        let (store, after, days) = (self.store.clone(), self.after.clone(), self.audit_days);
        let work = move || remove_some(&*store, after.as_ref(), now, days);
        let (removed, next) = tokio::task::spawn_blocking(work).await??;
        counter!("pelago_retention_removed_total", "kind" => "audit").increment(removed as u64);
        self.after = next;
        Ok(if self.after.is_some() { Step::More } else { Step::Done })
    }

    /// The time of the world, as its nodes have it: no other clock knows how old an audit is.
    async fn world_time(&self) -> Option<WorldTime> {
        let answers = ask_all(&self.calls, &Question::Status).await.into_iter();
        let times = answers.filter_map(|(node, answer)| {
            let status = answer.and_then(|answer| answer.read::<StatusAnswer>(node)).ok()?;
            Some(status.world.time_ms)
        });
        times.min()
    }
}

/// Audits before this time may go; `None` if none may.
fn removed_before(now: WorldTime, days: u32, backup: Option<&BackupDocument>) -> Option<i64> {
    let covered = backup?.began.0.saturating_sub(COMMITTED_WITHIN_MS);
    let old = now.0.saturating_sub(i64::from(days).saturating_mul(DAY_MS));
    Some(covered.min(old))
}

/// Removes some of the audits that follow a key: how many, and after which key to go on, if there may be more.
fn remove_some(
    store: &dyn Store,
    after: Option<&Key>,
    now: WorldTime,
    days: u32,
) -> Result<(usize, Option<Key>), ReadError> {
    let mark = load_now(store, vec![Key::last_backup()])?;
    let mark = mark.first().and_then(|document| read::<BackupDocument>(document).ok().flatten());
    let Some(before) = removed_before(now, days, mark.as_ref()) else { return Ok((0, None)) };
    let (mut old, mut looked_at, mut last) = (Vec::new(), 0, None);
    store.scan_after("audit/", after, &mut |key, document| {
        looked_at += 1;
        // One that cannot be read is left alone.
        let audit = read::<AuditDocument>(&document).ok().flatten();
        if key.can_be_forgotten() && audit.is_some_and(|audit| audit.at.0 < before) {
            old.push(key.clone());
        }
        last = Some(key);
        match looked_at < MAX_LOOKED_AT && old.len() < MAX_FORGOTTEN {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    if !old.is_empty() {
        store.forget(&old)?;
    }
    let is_last = looked_at < MAX_LOOKED_AT && old.len() < MAX_FORGOTTEN;
    Ok((old.len(), last.filter(|_| !is_last)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use pelago_game::{Changes, json};
    use pelago_model::{
        CommitOutcome, EntityId, Epoch, GrantKey, IslandTime, Sequence, Transaction, Write,
    };
    use pelago_node::documents::audit::Cause;
    use pelago_node::documents::avatar::ChainHash;
    use pelago_node::documents::backup::BACKUP_SCHEMA;
    use pelago_store::{Memory, commit_now};

    const NOW: WorldTime = WorldTime(1000 * DAY_MS);

    fn write(store: &Memory, write: Write) {
        let transaction = Transaction { checks: Vec::new(), writes: vec![write] };
        assert_eq!(commit_now(store, transaction), CommitOutcome::Committed);
    }

    fn audit(store: &Memory, number: u64, days_ago: i64, cause: Cause) {
        let at = IslandTime(NOW.0 - days_ago * DAY_MS);
        let (avatar, epoch) = (EntityId(number % 7 + 1), Epoch(1));
        let audit = AuditDocument { avatar, epoch, at, cause, changes: Changes::default() };
        write(store, audit.write().unwrap());
    }

    fn command(number: u64) -> Cause {
        Cause::Command { sequence: Sequence(number), command: ChainHash::of(b"gather") }
    }

    fn grant(number: u64) -> Cause {
        let key = GrantKey::parse(&format!("mail/{number}")).unwrap();
        let (what, effects) = ("{}".into(), "{}".into());
        Cause::Grant { key, what, reason: String::new(), effects, failed: false }
    }

    fn mark(store: &Memory, days_ago: i64) {
        let key = Key::last_backup();
        let expected = store.get(&key).revision;
        let value = json::encode(&BackupDocument { began: WorldTime(NOW.0 - days_ago * DAY_MS) });
        let value = Some(value.unwrap());
        write(store, Write { key, expected, schema: BACKUP_SCHEMA, value });
    }

    /// A round with a rule of so many days: how many went.
    fn round(store: &Memory, days: u32) -> usize {
        let (mut removed, mut after) = (0, None);
        loop {
            let (more, next) = remove_some(store, after.as_ref(), NOW, days).unwrap();
            assert!(more <= MAX_FORGOTTEN);
            removed += more;
            match next {
                Some(next) => after = Some(next),
                None => return removed,
            }
        }
    }

    /// 3,000 audits of commands, of which 10 each were made on the same day, and 30 of grants.
    fn world() -> Memory {
        let store = Memory::default();
        (0..3000).for_each(|number| audit(&store, number, number as i64 / 10, command(number)));
        (0..30).for_each(|number| audit(&store, number, 200, grant(number)));
        store
    }

    fn left(store: &Memory) -> usize {
        store.snapshot().keys().filter(|key| key.kind() == "audit").count()
    }

    #[test]
    fn nothing_goes_before_a_backup_has_it() {
        let store = world();
        assert_eq!((round(&store, 1), left(&store)), (0, 3030));
        mark(&store, 250);
        // Those of day 250 may have been committed after it began.
        assert_eq!((round(&store, 100), left(&store)), (490, 2540));
        mark(&store, 0);
        assert_eq!((round(&store, 100), left(&store)), (1500, 1040));
        assert_eq!(round(&store, 100), 0);
        assert!(
            store
                .snapshot()
                .keys()
                .filter(|key| key.kind() == "audit")
                .all(|key| { key.as_str().contains("/grant/") || key.can_be_forgotten() })
        );
    }

    #[test]
    fn grants_stay_for_ever() {
        let store = world();
        mark(&store, 0);
        round(&store, 1);
        let grants = store.snapshot().into_keys().filter(|key| key.as_str().contains("/grant/"));
        assert_eq!(grants.count(), 30);
    }

    #[test]
    fn a_sum_that_does_not_fit_removes_nothing() {
        let began = WorldTime(i64::MIN);
        assert_eq!(removed_before(NOW, 1, Some(&BackupDocument { began })), Some(i64::MIN));
        assert_eq!(removed_before(WorldTime(i64::MIN), u32::MAX, None), None);
    }

    #[test]
    fn a_rule_of_no_days_is_refused() {
        assert!(RetentionConfig::default().check().is_ok());
        let error = RetentionConfig { audit_days: Some(0) }.check().unwrap_err().to_string();
        assert!(error.contains("retention.audit_days"), "{error}");
    }
}
