use super::archive::Document;
use super::*;
use serde_json::json;

const ANNA: &str = "0000100000000005";

fn acknowledged(sequence: u64) -> Acknowledged {
    Acknowledged {
        name: "Anna".into(),
        avatar: ANNA.into(),
        sequence,
        chain: format!("chain {sequence}"),
    }
}

fn put(documents: &mut Documents, key: &str, value: Value) {
    let revision = documents.get(key).map_or(1, |document| document.revision + 1);
    documents.insert(key.to_owned(), Document { revision, value });
}

/// A world in which Anna has picked so many berries.
fn world(picked: u64) -> Documents {
    let mut documents = Documents::new();
    for sequence in 1..=picked {
        let changes = json!({
            format!("avatar/{ANNA}"): {"berry": {"held": 1}},
            "chunk/0000100000000001/1/1": {"berry": {"gathered": 1}},
        });
        let entry = json!({"cause": {"command": {"sequence": sequence}}, "changes": changes});
        put(&mut documents, &format!("audit/{ANNA}/{sequence:020}"), entry);
    }
    let outcome = |sequence| json!({"sequence": sequence, "chain": format!("chain {sequence}")});
    let outcomes: Vec<Value> = (1..=picked).map(outcome).collect();
    let avatar = json!({
        "epoch": 1, "sequence": picked, "outcomes": outcomes, "game": {"held": {"berry": picked}},
    });
    put(&mut documents, &format!("avatar/{ANNA}"), avatar);
    put(&mut documents, "chunk/0000100000000001/1/1", json!({"taken": {"berry": picked}}));
    documents
}

/// What is wrong with a world in which all that Anna was told is what she has done.
fn wrong(documents: &Documents, told: u64) -> Vec<String> {
    let (mut wrong, lines) = (Vec::new(), (1..=told).map(acknowledged).collect::<Vec<_>>());
    check_journal(&lines, &mut wrong);
    check_acknowledged(&lines, documents, &mut wrong);
    check_sequences(documents, &mut wrong).unwrap();
    check_books(documents, &mut wrong).unwrap();
    wrong
}

#[test]
fn a_world_as_it_should_be_is_not_objected_to() {
    assert_eq!(wrong(&world(3), 3), [""; 0]);
    // The last acknowledgement may not have reached her.
    assert_eq!(wrong(&world(3), 2), [""; 0]);
}

#[test]
fn what_was_acknowledged_and_is_not_there_is_noticed() {
    assert!(!wrong(&world(2), 3).is_empty());
    let mut documents = world(3);
    documents.remove(&format!("audit/{ANNA}/{:020}", 2));
    assert!(!wrong(&documents, 3).is_empty());
    documents = world(3);
    documents.remove(&format!("avatar/{ANNA}"));
    assert!(!wrong(&documents, 3).is_empty());
}

#[test]
fn what_was_done_twice_is_noticed() {
    let (mut documents, key) = (world(3), format!("avatar/{ANNA}"));
    let mut avatar = documents[&key].value.clone();
    avatar["game"]["held"]["berry"] = json!(4);
    put(&mut documents, &key, avatar);
    assert_eq!(wrong(&documents, 3).len(), 1);
    documents = world(3);
    put(&mut documents, "chunk/0000100000000001/1/1", json!({"taken": {"berry": 4}}));
    assert_eq!(wrong(&documents, 3).len(), 1);
}

#[test]
fn another_chain_than_was_acknowledged_is_noticed() {
    let (mut documents, key) = (world(3), format!("avatar/{ANNA}"));
    let mut avatar = documents[&key].value.clone();
    avatar["outcomes"][1]["chain"] = json!("another");
    put(&mut documents, &key, avatar);
    assert_eq!(wrong(&documents, 3).len(), 1);
}

#[test]
fn items_that_came_from_nowhere_are_noticed() {
    let (mut documents, key) = (world(3), format!("audit/{ANNA}/{:020}", 2));
    let mut entry = documents[&key].value.clone();
    entry["changes"]["chunk/0000100000000001/1/1"]["berry"]["gathered"] = json!(0);
    put(&mut documents, &key, entry);
    put(&mut documents, "chunk/0000100000000001/1/1", json!({"taken": {"berry": 2}}));
    let wrong = wrong(&documents, 3);
    assert!(wrong.iter().any(|wrong| wrong.starts_with("made")), "{wrong:?}");
}

#[test]
fn a_number_that_is_acknowledged_again_is_noticed() {
    let mut wrong = Vec::new();
    check_journal(&[acknowledged(1), acknowledged(2), acknowledged(2)], &mut wrong);
    assert_eq!(wrong.len(), 1);
}

#[test]
fn a_world_that_goes_back_is_noticed() {
    let mut checker = Checker::default();
    let mut wrong = Vec::new();
    let mut later = world(3);
    put(&mut later, "chunk/0000100000000001/1/1", json!({"taken": {"berry": 3}}));
    checker.check_progress(&later, &mut wrong);
    checker.check_progress(&later, &mut wrong);
    assert_eq!(wrong, [""; 0]);
    checker.check_progress(&world(3), &mut wrong);
    assert_eq!(wrong.len(), 1);
    // Compared with what was seen last, more is missing still.
    checker.check_progress(&world(2), &mut wrong);
    assert_eq!(wrong.len(), 2);
}

#[test]
fn archives_are_read_as_their_page_says() {
    let vectors = include_str!("../../../docs/vectors/archive.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let parts = vectors["parts"].as_array().unwrap();
    for part in parts {
        let hex = part["hex"].as_str().unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let Some(file) = part["file"].as_str() else { continue };
        std::fs::write(folder.path().join(file), bytes).unwrap();
    }
    let files = parts.iter().filter(|part| part["file"].is_string());
    let listed: Vec<Value> = files.map(|part| json!({"file": part["file"]})).collect();
    let manifest = json!({"complete": true, "parts": listed}).to_string();
    std::fs::write(folder.path().join("manifest.json"), manifest).unwrap();
    let documents = archive::read(folder.path()).unwrap();
    let anna = &documents["avatar/0000700000000001"];
    assert_eq!((anna.revision, &anna.value["name"]), (4, &json!("Åsa")));
    assert!(!documents.contains_key("avatar/0000700000000002"), "it is deleted");
    // A part that was changed is refused.
    let first = folder.path().join("000001.part");
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    assert!(archive::read(folder.path()).is_err());
}
