//! A stream of bytes cut anywhere gives the same messages.

use crate::input::Input;
use bytes::{Bytes, BytesMut};
use pelago_net::framing::{Deframer, Malformed, put_header};

/// Cuts at most, so that short inputs are not cut to dust.
const CUTS: usize = 8;

/// A limit, some cuts, and the stream.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limit = usize::from(input.u16()) + 1;
    let cuts: [usize; CUTS] = std::array::from_fn(|_| input.u8().into());
    let stream = input.rest();
    let whole = read(limit, &[stream]);
    let mut pieces = Vec::new();
    let mut left = stream;
    for cut in cuts {
        let (piece, rest) = left.split_at(cut.min(left.len()));
        pieces.push(piece);
        left = rest;
    }
    pieces.push(left);
    assert_eq!(read(limit, &pieces), whole, "the cuts can be seen");

    // Lengths have one form only: what was read is written the same way.
    let mut written = BytesMut::new();
    for (kind, payload) in &whole.0 {
        assert!(payload.len() < limit, "a message beyond the limit");
        put_header(&mut written, *kind, payload.len());
        written.extend_from_slice(payload);
    }
    assert!(stream.starts_with(&written), "messages are not what the bytes are");
}

/// The messages, and what ended them.
fn read(limit: usize, pieces: &[&[u8]]) -> (Vec<(u8, Bytes)>, Option<Malformed>) {
    let mut deframer = Deframer::new(limit);
    let mut messages = Vec::new();
    for piece in pieces {
        deframer.buffer().extend_from_slice(piece);
        loop {
            match deframer.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(malformed) => return (messages, Some(malformed)),
            }
        }
    }
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    let room = deframer.buffer().capacity();
    assert!(room <= 2 * (bytes + limit) + 128, "{room} bytes of room for {bytes}, limit {limit}");
    (messages, None)
}
