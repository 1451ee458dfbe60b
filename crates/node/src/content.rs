//! Content as clients fetch it by its hash, whichever machine has the client.

use crate::rate_limits::slow_down;
use bytes::Bytes;
use pelago_game::ContentHash;
use pelago_wire::client;
use std::collections::BTreeMap;

/// The answer to a client that asks for content. A hash that is not known is answered without data.
pub(crate) fn content(known: &BTreeMap<ContentHash, Bytes>, hash: Bytes) -> client::Content {
    let found = hash.as_ref().try_into().map(ContentHash).ok();
    let data = found.and_then(|hash| known.get(&hash).cloned()).unwrap_or_default();
    client::Content { hash, data, code: String::new() }
}

/// The answer to a client that asks for more content than it may have now.
pub(crate) fn too_much_content(hash: Bytes) -> client::Content {
    client::Content { hash, data: Bytes::new(), code: slow_down().code.into_owned() }
}
