//! `docs/vectors/archive.json`: archives as every later version has to read them. Never change a line of its bytes.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_model::{Document, Key, Revision};
use pelago_store::WorldHash;
use pelago_store::archive::{Archive, Page, part};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../docs/vectors/archive.json")).unwrap()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn page(vector: &Value) -> Page {
    let document = |it: &Value| {
        let document = Document {
            schema: it["schema"].as_u64().unwrap() as u16,
            revision: Revision(it["revision"].as_u64().unwrap()),
            value: it["value"].as_str().map(|value| Bytes::copy_from_slice(value.as_bytes())),
        };
        (Key::parse(it["key"].as_str().unwrap()).unwrap(), document)
    };
    Page {
        documents: vector["documents"].as_array().unwrap().iter().map(document).collect(),
        position: vector["position"].as_str().unwrap().parse().unwrap(),
        is_last: vector["is_last"].as_bool().unwrap(),
    }
}

#[test]
fn parts_are_written_and_read_as_the_vectors_say() {
    for vector in vectors()["parts"].as_array().unwrap() {
        let (number, changes) = (vector["number"].as_u64().unwrap(), vector["changes"].as_bool());
        let bytes = part::encode(number as u32, changes.unwrap(), &page(vector));
        assert_eq!(hexadecimal(&bytes), vector["hex"].as_str().unwrap(), "{}", vector["name"]);
        assert_eq!(part::decode(&unhex(&vector["hex"])).unwrap(), page(vector));
    }
}

#[test]
fn what_the_vectors_call_malformed_is_refused() {
    for vector in vectors()["malformed"].as_array().unwrap() {
        let error = part::decode(&unhex(&vector["hex"])).unwrap_err().to_string();
        assert!(error.contains(vector["says"].as_str().unwrap()), "{vector}: {error}");
    }
}

#[test]
fn the_archive_of_the_vectors_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let vectors = vectors();
    let manifest = serde_json::to_vec(&vectors["manifest"]).unwrap();
    std::fs::write(directory.path().join("manifest.json"), manifest).unwrap();
    for vector in vectors["parts"].as_array().unwrap() {
        if let Some(file) = vector["file"].as_str() {
            std::fs::write(directory.path().join(file), unhex(&vector["hex"])).unwrap();
        }
    }
    let archive = Archive::open(directory.path()).unwrap();
    archive.check(&mut |_, _| ()).unwrap();
    let expected: WorldHash = vectors["manifest"]["hash"].as_str().unwrap().parse().unwrap();
    assert_eq!(archive.hash().unwrap(), (expected, 3));
    let contents: Vec<_> = archive.contents().unwrap().map(Result::unwrap).collect();
    assert_eq!(
        contents,
        page(&serde_json::json!({
            "documents": vectors["contents"], "position": "0.0", "is_last": false,
        }))
        .documents
    );
}

#[test]
fn a_newer_archive_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = vectors()["manifest"].clone();
    manifest["format"] = 2.into();
    manifest["novelty"] = true.into();
    std::fs::write(directory.path().join("manifest.json"), manifest.to_string()).unwrap();
    let error = Archive::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("is of format 2"), "{error}");
}
