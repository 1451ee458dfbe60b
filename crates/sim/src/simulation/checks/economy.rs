//! The economy: items are conserved, audits explain every one of them, and every grant was carried out once.

use crate::simulation::{Mail, Simulation};
use crate::violation::{Invariant, Violation};
use bytes::Bytes;
use pelago_game::{Changes, Game, Total};
use pelago_model::key::KINDS;
use pelago_model::{Document, Key, Revision};
use pelago_node::documents::audit::{AuditDocument, Cause};
use pelago_node::documents::avatar::{AvatarDocument, read};
use pelago_store::Store;
use std::collections::BTreeMap;

/// What documents hold, and what audits say that they should.
#[derive(Default)]
struct Books {
    totals: BTreeMap<String, Total>,
    counted: Changes,
    audited: Changes,
    problem: Option<String>,
}

impl Books {
    fn enter(&mut self, game: &dyn Game, key: &Key, document: &Document) -> Result<(), String> {
        let value = match key.kind() {
            "audit" => return self.enter_audit(key, document),
            "avatar" => read::<AvatarDocument>(document)?.map(|avatar| avatar.game),
            kind if kind != "chunk" && KINDS.contains(&kind) => return Ok(()),
            _ => read(document)?,
        };
        if let Some(value) = &value {
            game.count(key, value, &mut self.totals);
        }
        self.counted.note(game, key, None, value.as_ref());
        Ok(())
    }

    fn enter_audit(&mut self, key: &Key, document: &Document) -> Result<(), String> {
        let audit: AuditDocument = read(document)?.ok_or("it was deleted")?;
        if audit.key() != *key || document.revision != Revision(1) {
            return Err("it is another's, or was changed".into());
        }
        for (key, items) in audit.changes.0 {
            let sums = self.audited.0.entry(key).or_default();
            for (item, total) in items {
                sums.entry(item).or_default().add(&total, 1);
            }
        }
        Ok(())
    }
}

impl Simulation {
    /// Items are conserved, nothing was committed twice, and the sum of all audits is what there is.
    pub(in crate::simulation) fn check_books(&self) -> Result<(), Violation> {
        if let Some((avatar, sequence)) = self.store.doubled.first() {
            let text = format!("command {sequence} of {avatar} was committed twice");
            return Err(self.violation(Invariant::Books, text));
        }
        if let Some(key) = self.store.rewritten.first() {
            let text = format!("{key} was to be changed or deleted");
            return Err(self.violation(Invariant::Audited, text));
        }
        let mut books = Books::default();
        let visited = self.store.documents.scan("", &mut |key, document| {
            if let Err(text) = books.enter(&self.game, &key, &document) {
                books.problem = Some(format!("{key}: {text}"));
            }
        });
        if let Some(text) = books.problem.or(visited.err().map(|error| error.to_string())) {
            return Err(self.violation(Invariant::Books, text));
        }
        if let Some((item, total)) = books.totals.iter().find(|(_, total)| !total.is_balanced()) {
            let text = format!("{item} is not conserved: {total:?}");
            return Err(self.violation(Invariant::Books, text));
        }
        for items in books.audited.0.values_mut() {
            items.retain(|_, total| *total != Total::default());
        }
        books.audited.0.retain(|_, items| !items.is_empty());
        let (counted, audited) = (&books.counted.0, &books.audited.0);
        let differs = |key: &&Key| counted.get(*key) != audited.get(*key);
        if let Some(key) = counted.keys().chain(audited.keys()).find(differs) {
            let text = format!(
                "{key} holds {:?}, its audits say {:?}",
                counted.get(key),
                audited.get(key)
            );
            return Err(self.violation(Invariant::Audited, text));
        }
        Ok(())
    }

    /// What the store remembers that was answered to a grant.
    pub(in crate::simulation) fn remembered_grant(&self, mail: &Mail) -> Option<Bytes> {
        let found = self.store.documents.get(&Key::grant(mail.avatar, &mail.key));
        match read::<AuditDocument>(&found).ok()??.cause {
            Cause::Grant { effects, .. } => Some(effects.into()),
            Cause::Command { .. } => None,
        }
    }

    /// In the end: whatever was to be granted is granted, and no answer was taken back.
    pub(in crate::simulation) fn check_grants(&self) -> Result<(), Violation> {
        for mail in &self.mail {
            let (key, avatar) = (&mail.key, mail.avatar);
            if mail.answer.is_none() {
                let text = format!("nobody ever said whether {key} was granted to {avatar}");
                return Err(self.violation(Invariant::Answers, text));
            }
            if self.remembered_grant(mail) != mail.answer {
                let text = format!("the grant of {key} to {avatar} is forgotten");
                return Err(self.violation(Invariant::Granted, text));
            }
        }
        Ok(())
    }
}
