//! Archives: made while others write, interrupted and gone on with, put back with the same hash, damaged and refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction, Write};
use pelago_store::archive::{
    About, Archive, BackupError, Event, Kind, Manifest, Page, Plan, RestoreError, Source,
    SourceError, backup, restore,
};
use pelago_store::{
    Embedded, FeedPosition, HashReading, Memory, Store, commit_now, load_now, restore_now,
    world_hash,
};
use std::path::Path;

/// So that small worlds have several parts.
const PART_BYTES: usize = 1024;

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn put(store: &dyn Store, name: &str, value: Option<&str>) {
    let key = key(name);
    let expected = load_now(store, vec![key.clone()]).unwrap()[0].revision;
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let write = Write { key, expected, schema: 1, value };
    let transaction = Transaction { checks: Vec::new(), writes: vec![write] };
    assert_eq!(commit_now(store, transaction), CommitOutcome::Committed);
}

/// A world of several parts, with deletions and places.
fn world(store: &dyn Store) {
    put(store, "world", Some(r#"{"secret":"abc","world":1}"#));
    for number in 0..100 {
        put(store, &format!("avatar/{number:03}"), Some(&"a".repeat(number * 3)));
    }
    put(store, "avatar/007", None);
    put(store, "place/007", Some("{}"));
    put(store, "place/008", Some("{}"));
}

fn plan(directory: &Path, kind: Kind) -> Plan<'_> {
    Plan { part_bytes: PART_BYTES, ..Plan::new(directory, kind, "a test", 1_000) }
}

fn make(store: &dyn Store, directory: &Path, kind: Kind) -> Result<Manifest, BackupError> {
    let mut nothing = |_| ();
    let mut source = Disturbed { store, before: &mut nothing, pages: 0, fails_after: usize::MAX };
    backup(&mut source, &plan(directory, kind), &mut |_| ())
}

fn put_back(directory: &Path, kind: Kind, store: &dyn Store) -> Result<u64, RestoreError> {
    let archive = Archive::open(directory)?;
    let restored = restore(&archive, kind, store, &|_, _| Ok(()), &mut |_| ())?;
    Ok(restored.written)
}

/// A source that does something before every page of documents, and fails after so many of them.
struct Disturbed<'a> {
    store: &'a dyn Store,
    before: &'a mut dyn FnMut(usize),
    pages: usize,
    fails_after: usize,
}

impl Source for Disturbed<'_> {
    fn about(&mut self) -> Result<About, SourceError> {
        self.store.about()
    }
    fn documents(&mut self, after: Option<&Key>) -> Result<Page, SourceError> {
        if self.pages == self.fails_after {
            return Err(SourceError::Server("is gone".to_owned()));
        }
        (self.before)(self.pages);
        self.pages += 1;
        // Pages of a few documents.
        let mut page = self.store.documents(after)?;
        page.is_last &= page.documents.len() <= 10;
        page.documents.truncate(10);
        Ok(page)
    }
    fn changes(&mut self, after: FeedPosition) -> Result<Page, SourceError> {
        self.store.changes(after)
    }
    fn hash(&mut self) -> Result<HashReading, SourceError> {
        self.store.hash()
    }
}

#[test]
fn a_world_moves_from_engine_to_engine_and_back_with_the_same_hash() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let first = Embedded::open(&path("first")).unwrap();
    world(&first);
    let hash = world_hash(&first).unwrap();
    let manifest = make(&first, &path("out"), Kind::Export).unwrap();
    assert_eq!((manifest.hash, manifest.documents), (Some(hash), 101));
    assert!(manifest.parts.len() > 3, "{manifest:?}");
    let second = Memory::default();
    assert_eq!(put_back(&path("out"), Kind::Export, &second).unwrap(), 101);
    assert_eq!(world_hash(&second).unwrap(), hash);
    assert_eq!(second.get(&key("avatar/007")).revision, Revision(2), "a deletion moves, too");
    assert_eq!(second.get(&key("place/007")), Document::ABSENT);
    make(&second, &path("back"), Kind::Export).unwrap();
    let third = Embedded::open(&path("third")).unwrap();
    put_back(&path("back"), Kind::Export, &third).unwrap();
    assert_eq!(world_hash(&third).unwrap(), hash);
}

#[test]
fn an_export_passes_over_whole_pages_of_places() {
    let directory = tempfile::tempdir().unwrap();
    let store = Memory::default();
    world(&store);
    for number in 100..140 {
        put(&store, &format!("place/{number}"), Some("{}"));
    }
    let manifest = make(&store, directory.path(), Kind::Export).unwrap();
    assert_eq!(manifest.hash, Some(world_hash(&store).unwrap()));
}

#[test]
fn a_backup_has_the_places_and_an_import_of_it_leaves_them_out() {
    let directory = tempfile::tempdir().unwrap();
    let store = Memory::default();
    world(&store);
    make(&store, directory.path(), Kind::Backup).unwrap();
    let whole = Memory::default();
    put_back(directory.path(), Kind::Backup, &whole).unwrap();
    assert_eq!(whole.snapshot(), store.snapshot());
    let imported = Memory::default();
    put_back(directory.path(), Kind::Export, &imported).unwrap();
    assert_eq!(imported.snapshot().len() + 2, whole.snapshot().len());
}

#[test]
fn what_changes_while_it_is_read_is_in_it_as_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let store = Memory::default();
    world(&store);
    // Before and behind the scan, in one transaction, at every page.
    let mut before = |page: usize| {
        let write = |name: &str| {
            let key = key(name);
            let expected = store.get(&key).revision;
            Write { key, expected, schema: 1, value: Some(Bytes::from(page.to_string())) }
        };
        let writes = vec![write("avatar/000"), write("avatar/099"), write(&format!("b/{page}"))];
        let transaction = Transaction { checks: Vec::new(), writes };
        assert_eq!(commit_now(&store, transaction), CommitOutcome::Committed);
        put(&store, "avatar/050", page.is_multiple_of(2).then_some("x"));
    };
    let mut source =
        Disturbed { store: &store, before: &mut before, pages: 0, fails_after: usize::MAX };
    let manifest = backup(&mut source, &plan(directory.path(), Kind::Backup), &mut |_| ()).unwrap();
    assert!(source.pages > 5);
    assert!(manifest.parts.iter().any(|part| part.changes));
    assert_eq!(manifest.hash, Some(world_hash(&store).unwrap()));
    assert_eq!(manifest.position, store.feed_end().unwrap());
    let restored = Memory::default();
    put_back(directory.path(), Kind::Backup, &restored).unwrap();
    assert_eq!(restored.snapshot(), store.snapshot());
}

#[test]
fn a_run_that_broke_off_goes_on_after_its_last_part() {
    let directory = tempfile::tempdir().unwrap();
    let store = Memory::default();
    world(&store);
    let mut parts = 0;
    for (round, fails_after) in [4, 4, usize::MAX].into_iter().enumerate() {
        let mut before = |page: usize| put(&store, "avatar/001", Some(&page.to_string()));
        let mut source = Disturbed { store: &store, before: &mut before, pages: 0, fails_after };
        let mut resumed = 0;
        let result = backup(&mut source, &plan(directory.path(), Kind::Backup), &mut |event| {
            if let Event::Resumed(parts) = event {
                resumed = parts;
            }
        });
        assert!(if round == 0 { resumed == 0 } else { resumed > parts }, "{round}: {resumed}");
        parts = resumed;
        match result {
            Ok(manifest) => assert_eq!(manifest.hash, Some(world_hash(&store).unwrap())),
            Err(error) => {
                assert!(error.to_string().contains("is gone"), "{error}");
                assert!(matches!(
                    put_back(directory.path(), Kind::Backup, &Memory::default()),
                    Err(RestoreError::Archive(pelago_store::archive::ArchiveError::Incomplete(_)))
                ));
                // It changes while nobody reads.
                put(&store, "avatar/002", Some("later"));
            }
        }
    }
    let restored = Memory::default();
    put_back(directory.path(), Kind::Backup, &restored).unwrap();
    assert_eq!(restored.snapshot(), store.snapshot());
}

#[test]
fn a_run_whose_changes_are_forgotten_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = Memory::default();
    world(&store);
    let mut nothing = |_| ();
    let mut source = Disturbed { store: &store, before: &mut nothing, pages: 0, fails_after: 4 };
    backup(&mut source, &plan(directory.path(), Kind::Backup), &mut |_| ()).unwrap_err();
    for number in 0..66_000 {
        put(&store, "avatar/001", Some(&number.to_string()));
    }
    let mut anew = 0;
    let mut source = &store as &dyn Store;
    let manifest = backup(&mut source, &plan(directory.path(), Kind::Backup), &mut |event| {
        anew += usize::from(matches!(event, Event::BegunAnew(_)));
    });
    assert_eq!(anew, 1);
    assert_eq!(manifest.unwrap().hash, Some(world_hash(&store).unwrap()));
}

#[test]
fn what_is_there_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (store, other) = (Memory::default(), Memory::default());
    world(&store);
    put(&other, "world", Some(r#"{"secret":"xyz","world":1}"#));
    make(&store, &path("whole"), Kind::Backup).unwrap();
    let error = make(&store, &path("whole"), Kind::Backup).unwrap_err();
    assert!(matches!(error, BackupError::Complete(_)), "{error}");
    let error = make(&other, &path("whole"), Kind::Backup).unwrap_err();
    assert!(error.to_string().contains("another world"), "{error}");
    std::fs::create_dir(path("home")).unwrap();
    std::fs::write(path("home").join("letter"), "dear").unwrap();
    let error = make(&store, &path("home"), Kind::Backup).unwrap_err();
    assert!(error.to_string().contains("letter"), "{error}");
    assert_eq!(std::fs::read_dir(path("home")).unwrap().count(), 1);
    let error = make(&Memory::default(), &path("none"), Kind::Backup).unwrap_err();
    assert!(error.to_string().contains("no world"), "{error}");
    assert!(!path("none").exists());
}

#[test]
fn a_store_with_something_else_is_refused_and_one_with_a_beginning_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let store = Memory::default();
    world(&store);
    make(&store, directory.path(), Kind::Backup).unwrap();
    let archive = Archive::open(directory.path()).unwrap();
    let documents: Vec<_> = archive.contents().unwrap().map(Result::unwrap).collect();

    let begun = Memory::default();
    restore_now(&begun, documents[..40].to_vec());
    restore_now(&begun, documents[50..60].to_vec());
    // Somebody has tried to start meanwhile.
    put(&begun, "lease/fence", Some("{}"));
    let written = put_back(directory.path(), Kind::Backup, &begun).unwrap();
    assert_eq!(written, documents.len() as u64 - 40);
    let (begun_hash, hash) = (world_hash(&begun).unwrap(), world_hash(&store).unwrap());
    assert_eq!(begun_hash, hash);
    assert_eq!(put_back(directory.path(), Kind::Backup, &begun).unwrap(), 0);

    for name in ["aa/1", "avatar/003", "zz"] {
        let used = Memory::default();
        restore_now(&used, documents[..2].to_vec());
        put(&used, name, Some("mine"));
        let before = used.snapshot();
        match put_back(directory.path(), Kind::Backup, &used) {
            Err(RestoreError::NotEmpty(found)) => assert_eq!(found, key(name)),
            result => panic!("{result:?}"),
        }
        assert_eq!(used.snapshot(), before);
    }
}

#[test]
fn a_damaged_part_is_named_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Memory::default();
    world(&store);
    let manifest = make(&store, directory.path(), Kind::Backup).unwrap();
    let last = directory.path().join(&manifest.parts.last().unwrap().file);
    let whole = std::fs::read(&last).unwrap();
    let refused = |what: &str| {
        let target = Memory::default();
        let error = put_back(directory.path(), Kind::Backup, &target).unwrap_err().to_string();
        assert!(error.contains(last.to_str().unwrap()), "{what}: {error}");
        assert!(target.snapshot().is_empty(), "{what}");
    };
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(&last, damaged).unwrap();
    refused("a byte is another one");
    std::fs::write(&last, &whole[..whole.len() - 1]).unwrap();
    refused("a byte is missing");
    std::fs::write(&last, std::fs::read(directory.path().join("000001.part")).unwrap()).unwrap();
    refused("it is another part");
    std::fs::remove_file(&last).unwrap();
    refused("it is gone");
}

#[test]
fn documents_newer_than_the_program_are_refused_with_their_key() {
    let directory = tempfile::tempdir().unwrap();
    let store = Memory::default();
    world(&store);
    make(&store, directory.path(), Kind::Backup).unwrap();
    let archive = Archive::open(directory.path()).unwrap();
    let known = |key: &Key, _: &Document| {
        if key.as_str() == "avatar/050" { Err("has schema 9".to_owned()) } else { Ok(()) }
    };
    let target = Memory::default();
    let error = restore(&archive, Kind::Backup, &target, &known, &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the document under avatar/050 has schema 9");
    assert!(target.snapshot().is_empty());
}
