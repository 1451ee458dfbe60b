//! Aliases: the short names of streams on one link, given by the sender of frames.
//!
//! A snapshot opens an alias, a close ends it, and only then it may name another stream. An alias is new only when none
//! is free, so that aliases are small numbers. The reader counts the frames of each stream; after a gap it waits for the
//! next snapshot.

use crate::hangup::HangupReason;
use crate::subjects::SubjectNumber;
use crate::subscriptions::MAX_SUBSCRIPTIONS;
use crate::table::Table;
use pelago_model::Numbers;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Publishers of one node, and thus streams of one subject on one link.
pub(crate) const MAX_PARTS: usize = pelago_model::PublisherId::MAX_PART as usize + 1;
/// Streams on one link.
pub(crate) const MAX_STREAMS: usize = MAX_SUBSCRIPTIONS * MAX_PARTS;

/// A stream: what one part of a node (a lane or a host of services) publishes on one subject. Packed: it is the key of
/// two tables of every link.
#[repr(Rust, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stream {
    pub(crate) subject: SubjectNumber,
    pub(crate) part: u16,
}

impl Stream {
    pub(crate) fn new(subject: SubjectNumber, part: u16) -> Self {
        Self { subject, part }
    }

    /// All streams of a subject.
    pub(crate) fn all_of(subject: SubjectNumber) -> RangeInclusive<Self> {
        Self::new(subject, 0)..=Self::new(subject, u16::MAX)
    }
}

/// The sender's side.
#[derive(Debug, Default)]
pub(crate) struct OutStreams {
    aliases: BTreeMap<Stream, u32>,
    /// Frames were left out: they go on with a fresh snapshot.
    stale: BTreeSet<Stream>,
    /// Of the aliases.
    numbers: Numbers,
}

impl OutStreams {
    /// The alias of a stream whose snapshot is being sent.
    pub(crate) fn open(&mut self, stream: Stream) -> u32 {
        self.stale.remove(&stream);
        *self.aliases.entry(stream).or_insert_with(|| self.numbers.take())
    }

    /// The alias for a frame; `None` if the stream is not open. `Err` if the frame has to be left out.
    pub(crate) fn alias(&mut self, stream: Stream, blocked: bool) -> Result<Option<u32>, LeftOut> {
        let Some(alias) = self.aliases.get(&stream) else { return Ok(None) };
        if blocked {
            self.stale.insert(stream);
        }
        if self.stale.contains(&stream) { Err(LeftOut) } else { Ok(Some(*alias)) }
    }

    /// Ends all streams of a subject; returns their aliases.
    pub(crate) fn close(&mut self, subject: SubjectNumber) -> Vec<u32> {
        let ended: Vec<(Stream, u32)> = open_of(&self.aliases, subject);
        for (stream, alias) in &ended {
            self.aliases.remove(stream);
            self.stale.remove(stream);
            self.numbers.give_back(*alias);
        }
        ended.into_iter().map(|(_, alias)| alias).collect()
    }

    /// How many streams are open.
    pub(crate) fn len(&self) -> usize {
        self.aliases.len()
    }

    /// The subjects of which frames were left out.
    pub(crate) fn stale(&self) -> BTreeSet<SubjectNumber> {
        self.stale.iter().map(|stream| stream.subject).collect()
    }
}

fn open_of(aliases: &BTreeMap<Stream, u32>, subject: SubjectNumber) -> Vec<(Stream, u32)> {
    aliases.range(Stream::all_of(subject)).map(|(stream, alias)| (*stream, *alias)).collect()
}

/// A frame must not be sent: others before it were not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut;

#[derive(Clone, Copy, Debug)]
struct InStream {
    /// The number of the last frame.
    sequence: u64,
    stream: Stream,
    /// A frame is missing: nothing is taken before the next snapshot.
    waiting: bool,
}

/// How a frame continues its stream for the reader.
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
    by_alias: Table<InStream>,
    aliases: BTreeMap<Stream, u32>,
    /// How many aliases the sender has ever named.
    named: u32,
}

impl InStreams {
    /// A snapshot names an alias, which ends what it stood for.
    ///
    /// # Errors
    /// If the sender had a smaller one that it has never named: it does not count as agreed, and what it says next might
    /// take any memory here.
    pub(crate) fn name(&mut self, alias: u32) -> Result<(), HangupReason> {
        if alias > self.named || alias as usize >= MAX_STREAMS {
            return Err(HangupReason::Malformed);
        }
        self.named = self.named.max(alias + 1);
        self.close(alias);
        Ok(())
    }

    /// The snapshot under an alias that it has named is taken: the stream goes on after this frame.
    pub(crate) fn open(&mut self, alias: u32, stream: Stream, sequence: u64) {
        if let Some(old) = self.aliases.insert(stream, alias) {
            self.by_alias.remove(old);
        }
        self.by_alias.insert(alias, InStream { sequence, stream, waiting: false });
    }

    /// The alias has ended.
    pub(crate) fn close(&mut self, alias: u32) {
        if let Some(InStream { stream, .. }) = self.by_alias.remove(alias) {
            self.aliases.remove(&stream);
        }
    }

    /// The subject is not read any more.
    pub(crate) fn forget(&mut self, subject: SubjectNumber) {
        for (stream, alias) in open_of(&self.aliases, subject) {
            self.aliases.remove(&stream);
            self.by_alias.remove(alias);
        }
    }

    /// How many streams are open.
    pub(crate) fn len(&self) -> usize {
        self.by_alias.len()
    }

    /// Counts a frame.
    pub(crate) fn take(&mut self, alias: u32, sequence: u64) -> Taken {
        let Some(stream) = self.by_alias.get_mut(alias) else { return Taken::Unknown };
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
    use proptest::prelude::*;

    fn stream(subject: u32, part: u16) -> Stream {
        Stream::new(SubjectNumber(subject), part)
    }

    #[test]
    fn streams_take_no_more_memory_than_they_have_to() {
        assert_eq!((size_of::<Stream>(), size_of::<Option<InStream>>()), (6, 16));
    }

    #[test]
    fn an_alias_is_used_again_only_after_its_close() {
        let mut out = OutStreams::default();
        assert_eq!(
            [out.open(stream(1, 1)), out.open(stream(1, 2)), out.open(stream(2, 1))],
            [0, 1, 2]
        );
        assert_eq!(out.open(stream(1, 1)), 0);
        assert_eq!(out.close(SubjectNumber(1)), [0, 1]);
        assert_eq!(out.alias(stream(1, 1), false), Ok(None));
        assert_eq!(
            [out.open(stream(3, 1)), out.open(stream(3, 2)), out.open(stream(3, 3))],
            [0, 1, 3]
        );
    }

    #[test]
    fn only_streams_that_lost_a_frame_are_stale() {
        let mut out = OutStreams::default();
        out.open(stream(1, 1));
        out.open(stream(2, 1));
        assert_eq!(out.alias(stream(1, 1), true), Err(LeftOut));
        assert_eq!(out.alias(stream(1, 1), false), Err(LeftOut));
        assert_eq!(out.stale(), BTreeSet::from([SubjectNumber(1)]));
        assert_eq!(out.alias(stream(2, 1), false), Ok(Some(1)));
        out.open(stream(1, 1));
        assert_eq!(out.alias(stream(1, 1), false), Ok(Some(0)));
        assert_eq!(out.alias(stream(1, 1), true), Err(LeftOut));
        out.close(SubjectNumber(1));
        assert_eq!(out.stale(), BTreeSet::new());
    }

    /// A snapshot that is taken.
    fn open(streams: &mut InStreams, alias: u32, stream: Stream, sequence: u64) {
        streams.name(alias).unwrap();
        streams.open(alias, stream, sequence);
    }

    #[test]
    fn after_a_gap_nothing_is_taken_before_the_next_snapshot() {
        let mut streams = InStreams::default();
        open(&mut streams, 0, stream(1, 1), 10);
        assert_eq!(streams.take(0, 10), Taken::Ignored);
        assert_eq!(streams.take(0, 11), Taken::Next(stream(1, 1)));
        assert_eq!(streams.take(0, 13), Taken::Gap(stream(1, 1)));
        assert_eq!(streams.take(0, 12), Taken::Ignored);
        assert_eq!(streams.take(0, 14), Taken::Ignored);
        open(&mut streams, 1, stream(1, 1), 14);
        assert_eq!(streams.take(0, 15), Taken::Unknown);
        assert_eq!(streams.take(1, 15), Taken::Next(stream(1, 1)));
        open(&mut streams, 1, stream(2, 1), u64::MAX);
        assert_eq!(streams.take(1, u64::MAX), Taken::Ignored);
        streams.forget(SubjectNumber(2));
        assert_eq!(streams.take(1, 1), Taken::Unknown);
        assert_eq!((streams.len(), streams.aliases.len()), (0, 0));
    }

    #[test]
    fn an_alias_that_leaves_out_smaller_ones_is_malformed() {
        let mut streams = InStreams::default();
        assert_eq!(streams.name(1), Err(HangupReason::Malformed));
        for alias in [0, 1, 1, 0, 2] {
            assert_eq!(streams.name(alias), Ok(()));
        }
        assert_eq!(streams.name(u32::MAX), Err(HangupReason::Malformed));
        streams.close(u32::MAX);
        assert_eq!(streams.take(u32::MAX, 1), Taken::Unknown);
    }

    proptest! {
        /// Closes and snapshots may be long on their way, and the reader forgets what it wants to: as they come in
        /// order, every alias is one that it may name, and stands for the same on both sides.
        #[test]
        fn whatever_the_sender_opens_and_closes_the_reader_follows(
            steps in prop::collection::vec((0u32..6, 0u16..2, 0u8..4), 0..200),
        ) {
            let (mut out, mut streams) = (OutStreams::default(), InStreams::default());
            for (subject, part, what) in steps {
                match what {
                    0 => out.close(SubjectNumber(subject)).into_iter().for_each(|it| streams.close(it)),
                    1 => streams.forget(SubjectNumber(subject)),
                    2 => prop_assert_eq!(streams.name(out.open(stream(subject, part))), Ok(())),
                    _ => {
                        let alias = out.open(stream(subject, part));
                        prop_assert_eq!(streams.name(alias), Ok(()));
                        streams.open(alias, stream(subject, part), 0);
                    }
                }
                prop_assert_eq!(streams.len(), streams.aliases.len());
                for (stream, alias) in &streams.aliases {
                    prop_assert_eq!(out.aliases.get(stream), Some(alias));
                }
                prop_assert_eq!(out.numbers.in_use(), out.len());
            }
        }
    }
}
