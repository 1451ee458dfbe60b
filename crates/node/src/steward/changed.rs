//! Pages of chunks that were changed by turns with other keys: the stewards that publish them are told.
//!
//! That is a hint. If it is lost, or if another instance has the readers, they find out by looking at the chunk, which they
//! do now and then.

use bytes::Bytes;
use pelago_model::Key;
use pelago_wire::message::{decode_body, encode_body};
use pelago_wire::peer::{self, ChangedCall, steward_call};
use std::collections::BTreeMap;

/// Pages of one chunk; of more a call tells nothing.
const MAX_PAGES: usize = 64;

/// The pages among these documents that others publish than who has `key`, by the key of those others.
pub(super) fn published_elsewhere<'a>(
    key: &Key,
    documents: impl Iterator<Item = &'a Key>,
) -> BTreeMap<Key, Vec<Key>> {
    let mut elsewhere: BTreeMap<Key, Vec<Key>> = BTreeMap::new();
    for page in documents.filter(|page| page.as_chunk().is_some()) {
        let whose = page.steward_key();
        if whose != *key {
            elsewhere.entry(whose).or_default().push(page.clone());
        }
    }
    elsewhere
}

/// The body of the call that tells of these pages.
pub(super) fn encode(pages: &[Key]) -> Bytes {
    let pages = pages.iter().take(MAX_PAGES).map(Key::to_string).collect();
    let body = steward_call::Body::Changed(ChangedCall { pages });
    encode_body(&peer::StewardCall { body: Some(body) })
}

/// The pages of a call for a key; `None` if it is no such call, or names others than pages of the key's chunk.
pub(super) fn decode(key: &Key, body: &Bytes) -> Option<Vec<Key>> {
    let steward_call::Body::Changed(call) = decode_body::<peer::StewardCall>(body).ok()?.body?
    else {
        return None;
    };
    let page = |text: &String| {
        let page = Key::parse(text).ok()?;
        (page.as_chunk().is_some() && page.steward_key() == *key).then_some(page)
    };
    let is_full = call.pages.len() > MAX_PAGES;
    call.pages.iter().map(page).collect::<Option<_>>().filter(|_| !is_full)
}
