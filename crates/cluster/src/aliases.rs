//! Aliases: the short names of streams on one link, given by the sender of frames.
//!
//! A snapshot opens an alias, a close ends it, and only then it may name another stream. The reader counts the frames of
//! each stream; after a gap it waits for the next snapshot.

use crate::subscriptions::Subject;
use pelago_model::PublisherId;
use std::collections::{BTreeMap, BTreeSet};

/// What one publisher says about one subject.
pub(crate) type Stream = (Subject, PublisherId);

#[derive(Clone, Copy, Debug)]
struct OutStream {
    alias: u32,
    /// Frames were left out: it goes on with a fresh snapshot.
    stale: bool,
}

/// The sender's side.
#[derive(Debug, Default)]
pub(crate) struct OutStreams {
    streams: BTreeMap<Stream, OutStream>,
    free: Vec<u32>,
    /// How many aliases were ever open at once.
    used: u32,
}

impl OutStreams {
    /// The alias of a stream whose snapshot is being sent.
    pub(crate) fn open(&mut self, stream: Stream) -> u32 {
        let open = self.streams.get(&stream).map(|out| out.alias);
        let alias = open.or_else(|| self.free.pop()).unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        self.streams.insert(stream, OutStream { alias, stale: false });
        alias
    }

    /// The alias for a frame; `None` if the stream is not open. `Err` if the frame has to be left out.
    pub(crate) fn alias(&mut self, stream: &Stream, blocked: bool) -> Result<Option<u32>, LeftOut> {
        let Some(out) = self.streams.get_mut(stream) else { return Ok(None) };
        out.stale |= blocked;
        if out.stale { Err(LeftOut) } else { Ok(Some(out.alias)) }
    }

    /// Ends all streams of a subject; returns their aliases.
    pub(crate) fn close(&mut self, subject: Subject) -> Vec<u32> {
        let of_subject = (subject, PublisherId(0))..=(subject, PublisherId(u64::MAX));
        let ended: Vec<Stream> =
            self.streams.range(of_subject).map(|(stream, _)| *stream).collect();
        let aliases: Vec<u32> = ended
            .iter()
            .filter_map(|stream| self.streams.remove(stream))
            .map(|it| it.alias)
            .collect();
        self.free.extend(&aliases);
        aliases
    }

    /// How many streams are open.
    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    /// The subjects of which frames were left out.
    pub(crate) fn stale(&self) -> BTreeSet<Subject> {
        let stale = self.streams.iter().filter(|(_, out)| out.stale);
        stale.map(|((subject, _), _)| *subject).collect()
    }
}

/// A frame must not be sent: others before it were not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut;

#[derive(Clone, Copy, Debug)]
struct InStream {
    stream: Stream,
    /// The number of the last frame.
    sequence: u64,
    /// A frame is missing: nothing is taken before the next snapshot.
    waiting: bool,
}

/// What a frame is to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The next one of this stream.
    Next(Stream),
    /// Included in the snapshot, or behind a gap that is known.
    Ignored,
    /// One is missing before it.
    Gap(Stream),
    /// Its stream is not open.
    Unknown,
}

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct InStreams {
    by_alias: BTreeMap<u32, InStream>,
    by_stream: BTreeMap<Stream, u32>,
}

impl InStreams {
    /// A snapshot has come: the stream goes on after this frame.
    pub(crate) fn open(&mut self, alias: u32, stream: Stream, sequence: u64) {
        self.close(alias);
        if let Some(old) = self.by_stream.insert(stream, alias) {
            self.by_alias.remove(&old);
        }
        self.by_alias.insert(alias, InStream { stream, sequence, waiting: false });
    }

    /// The alias has ended.
    pub(crate) fn close(&mut self, alias: u32) {
        if let Some(old) = self.by_alias.remove(&alias) {
            self.by_stream.remove(&old.stream);
        }
    }

    /// The subject is not read any more, or anew from its beginning.
    pub(crate) fn forget(&mut self, subject: Subject) {
        let of_subject = (subject, PublisherId(0))..=(subject, PublisherId(u64::MAX));
        let aliases: Vec<u32> = self.by_stream.range(of_subject).map(|(_, alias)| *alias).collect();
        aliases.into_iter().for_each(|alias| self.close(alias));
    }

    /// How many streams are open.
    pub(crate) fn len(&self) -> usize {
        self.by_alias.len()
    }

    /// Counts a frame.
    pub(crate) fn take(&mut self, alias: u32, sequence: u64) -> Taken {
        let Some(stream) = self.by_alias.get_mut(&alias) else { return Taken::Unknown };
        if stream.waiting || sequence <= stream.sequence {
            return Taken::Ignored;
        }
        if sequence - 1 != stream.sequence {
            stream.waiting = true;
            return Taken::Gap(stream.stream);
        }
        stream.sequence = sequence;
        Taken::Next(stream.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::{ChannelId, ChunkId, IslandId};
    use pelago_wire::frame::StreamKind;

    fn stream(x: i16, publisher: u64) -> Stream {
        let channel = ChannelId::whole(IslandId(1), ChunkId::new(x, 0));
        ((channel, StreamKind::Entities), PublisherId(publisher))
    }

    #[test]
    fn an_alias_is_used_again_only_after_its_close() {
        let mut out = OutStreams::default();
        assert_eq!(
            [out.open(stream(1, 1)), out.open(stream(1, 2)), out.open(stream(2, 1))],
            [0, 1, 2]
        );
        assert_eq!(out.open(stream(1, 1)), 0);
        assert_eq!(out.close(stream(1, 0).0), [0, 1]);
        assert_eq!(out.alias(&stream(1, 1), false), Ok(None));
        assert_eq!(
            [out.open(stream(3, 1)), out.open(stream(3, 2)), out.open(stream(3, 3))],
            [1, 0, 3]
        );
    }

    #[test]
    fn only_streams_that_lost_a_frame_are_stale() {
        let mut out = OutStreams::default();
        out.open(stream(1, 1));
        out.open(stream(2, 1));
        assert_eq!(out.alias(&stream(1, 1), true), Err(LeftOut));
        assert_eq!(out.alias(&stream(1, 1), false), Err(LeftOut));
        assert_eq!(out.stale(), BTreeSet::from([stream(1, 1).0]));
        assert_eq!(out.alias(&stream(2, 1), false), Ok(Some(1)));
        out.open(stream(1, 1));
        assert_eq!(out.alias(&stream(1, 1), false), Ok(Some(0)));
    }

    #[test]
    fn after_a_gap_nothing_is_taken_before_the_next_snapshot() {
        let mut streams = InStreams::default();
        streams.open(4, stream(1, 1), 10);
        assert_eq!(streams.take(4, 10), Taken::Ignored);
        assert_eq!(streams.take(4, 11), Taken::Next(stream(1, 1)));
        assert_eq!(streams.take(4, 13), Taken::Gap(stream(1, 1)));
        assert_eq!(streams.take(4, 12), Taken::Ignored);
        assert_eq!(streams.take(4, 14), Taken::Ignored);
        streams.open(5, stream(1, 1), 14);
        assert_eq!(streams.take(4, 15), Taken::Unknown);
        assert_eq!(streams.take(5, 15), Taken::Next(stream(1, 1)));
        streams.open(5, stream(2, 1), u64::MAX);
        assert_eq!(streams.take(5, u64::MAX), Taken::Ignored);
        streams.forget(stream(2, 0).0);
        assert_eq!(streams.take(5, 1), Taken::Unknown);
    }
}
