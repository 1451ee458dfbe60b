//! The names of a world that is older than the rule for names: their skeletons are reserved once, when it is opened.

use super::OpenWorldError;
use pelago_model::limits::MAX_TRANSACTION_DOCUMENTS;
use pelago_model::{CommitOutcome, Document, Key, Name, Transaction, Write};
use pelago_node::documents::skeleton::{reserve, reserved_all};
use pelago_store::{Store, commit_now, load_now};
use std::collections::BTreeMap;

/// Reserves the skeletons of all names that are taken, unless that has been done. Of names that look alike all stay, and
/// the first in the order of their letters reserves the skeleton.
pub(super) fn reserve_names(store: &dyn Store) -> Result<(), OpenWorldError> {
    let mark = get(store, Key::skeletons())?;
    if mark.value.is_some() {
        return Ok(());
    }
    let mut names: BTreeMap<Key, Name> = BTreeMap::new();
    store.scan("name/", &mut |key, document| {
        let name = key.as_name().filter(|_| document.value.is_some());
        if let Some(Ok(name)) = name.map(|name| Name::parse(&name)) {
            names.entry(Key::skeleton(&name.skeleton())).or_insert(name);
        }
    })?;
    let names: Vec<(Key, Name)> = names.into_iter().collect();
    for names in names.chunks(MAX_TRANSACTION_DOCUMENTS) {
        let found = load_now(store, names.iter().map(|(key, _)| key.clone()).collect())?;
        let free = names.iter().zip(&found).filter(|(_, document)| document.value.is_none());
        let writes: Result<Vec<Write>, _> =
            free.map(|((_, name), document)| reserve(name, document)).collect();
        commit(store, writes?)?;
    }
    commit(store, vec![reserved_all(mark.revision)?])
}

fn get(store: &dyn Store, key: Key) -> Result<Document, OpenWorldError> {
    Ok(load_now(store, vec![key])?.pop().unwrap_or(Document::ABSENT))
}

/// Another node that opens the same world at the same moment reserves the same.
fn commit(store: &dyn Store, writes: Vec<Write>) -> Result<(), OpenWorldError> {
    if writes.is_empty() {
        return Ok(());
    }
    match commit_now(store, Transaction { checks: Vec::new(), writes }) {
        CommitOutcome::Committed | CommitOutcome::Conflict { .. } => Ok(()),
        outcome => Err(OpenWorldError::NotStored(outcome)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_node::documents::skeleton::SkeletonDocument;
    use pelago_store::Memory;

    fn write(store: &Memory, key: Key, value: &'static str) {
        let value = Some(bytes::Bytes::from_static(value.as_bytes()));
        let writes = vec![Write { expected: store.get(&key).revision, key, schema: 2, value }];
        assert_eq!(
            commit_now(store, Transaction { checks: vec![], writes }),
            CommitOutcome::Committed
        );
    }

    fn reserved(store: &Memory, name: &str) -> Option<String> {
        let key = Key::skeleton(&Name::parse(name).unwrap().skeleton());
        let value = store.get(&key).value?;
        Some(pelago_game::json::decode::<SkeletonDocument>(&value).unwrap().name)
    }

    #[test]
    fn the_names_of_an_old_world_are_reserved_once_and_stay() {
        let store = Memory::default();
        for name in ["Anna", "Anna ", "Anna\u{200b}", "Аnna", "Bert"] {
            write(&store, Key::name(name), "{}");
        }
        let before = store.get(&Key::name("Anna "));
        reserve_names(&store).unwrap();
        assert_eq!(reserved(&store, "Anna"), Some("Anna".into()));
        assert_eq!(reserved(&store, "Bert"), Some("Bert".into()));
        assert_eq!(store.get(&Key::name("Anna ")), before);
        // Later ones are reserved by their logins.
        write(&store, Key::name("Carl"), "{}");
        reserve_names(&store).unwrap();
        assert_eq!(reserved(&store, "Carl"), None);
    }
}
