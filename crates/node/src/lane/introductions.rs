//! Introductions: a lane begins to read a channel that its node reads already, and is shown by a sibling what is known there.
//!
//! The links hand the lane every frame that comes after they have asked the sibling. Until the sibling's snapshots are
//! here, frames of streams that the lane does not know are held, so that nothing is missing in between. If anything is out
//! of the ordinary (the lane lets go of the channel meanwhile, or begins to read it again; too many frames come, or the
//! sibling is silent) then the introduction is *void*: what the sibling tells is not believed any more, and the other
//! nodes are asked instead.

use pelago_model::{ChannelId, NodeId, PublisherId, WorldTime};
use pelago_wire::frame::{Frame, Snapshot};
use pelago_world::ghosts::StreamId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Frames that a lane holds until a sibling has shown it what it knows. The introduction that would hold one more is void.
pub const MAX_HELD_FRAMES: usize = 4096;
/// How long a sibling may take to show what it knows, in ms; then the introduction is void.
pub const INTRODUCTION_MS: i64 = 5000;

/// The introductions of a lane that are under way.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    by_channel: BTreeMap<ChannelId, Introduction>,
    /// Frames that are held, of all channels.
    held: usize,
}

#[derive(Debug)]
struct Introduction {
    /// How often the sibling still has to say that it has shown everything: once, unless the lane has begun to read the
    /// channel several times within moments.
    under_way: u32,
    since: WorldTime,
    void: bool,
    /// Frames of streams that are not known yet, in the order in which they came.
    held: Vec<Arc<Frame>>,
    /// Nodes that went out of reach since: what the sibling tells of them may be from before, and nobody would ever say
    /// that it is over.
    lost: BTreeSet<NodeId>,
}

/// What becomes of a frame of a stream that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It waits for the sibling.
    Held,
    /// It is not needed: the other nodes have been asked for everything, and have not answered yet.
    Asked,
    /// There were too many: the introduction is void, and the other nodes are to be asked for everything.
    TooMany,
    /// No introduction is under way.
    Unexpected,
}

/// How an introduction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was shown but these streams, of which frames were held.
    Shown(BTreeSet<PublisherId>),
    /// It was void: whatever was to be asked has been asked.
    Void,
    /// It was not under way.
    Unexpected,
}

impl Introductions {
    /// A sibling will show a channel. `false` if an earlier introduction is still under way: both are void then, since it
    /// cannot be told which of them the sibling speaks of.
    pub(super) fn begin(&mut self, channel: ChannelId, now: WorldTime) -> bool {
        if let Some(earlier) = self.by_channel.get_mut(&channel) {
            earlier.under_way += 1;
            earlier.since = now;
            self.void(channel);
            return false;
        }
        let introduction = Introduction {
            under_way: 1,
            since: now,
            void: false,
            held: Vec::new(),
            lost: BTreeSet::new(),
        };
        self.by_channel.insert(channel, introduction);
        true
    }

    /// What the sibling tells of a channel is not believed any more.
    pub(super) fn void(&mut self, channel: ChannelId) {
        if let Some(introduction) = self.by_channel.get_mut(&channel) {
            introduction.void = true;
            self.held -= std::mem::take(&mut introduction.held).len();
        }
    }

    /// Whether one is under way.
    pub(super) fn is_under_way(&self, channel: ChannelId) -> bool {
        self.by_channel.contains_key(&channel)
    }

    /// Holds a frame of a stream that is not known, if it may become known.
    pub(super) fn hold(&mut self, frame: &Arc<Frame>) -> Unknown {
        let Some(introduction) = self.by_channel.get_mut(&frame.channel) else {
            return Unknown::Unexpected;
        };
        if introduction.void {
            return Unknown::Asked;
        }
        if self.held >= MAX_HELD_FRAMES {
            self.void(frame.channel);
            return Unknown::TooMany;
        }
        introduction.held.push(frame.clone());
        self.held += 1;
        Unknown::Held
    }

    /// Whether what a sibling tells of a stream is to be believed.
    pub(super) fn expects(&self, snapshot: &Snapshot) -> bool {
        self.by_channel.get(&snapshot.channel).is_some_and(|introduction| {
            !introduction.void && !introduction.lost.contains(&snapshot.publisher.node())
        })
    }

    /// The frames of a stream that were held. It is known from now on.
    pub(super) fn take(&mut self, (channel, publisher): StreamId) -> Vec<Arc<Frame>> {
        let Some(introduction) = self.by_channel.get_mut(&channel) else { return Vec::new() };
        let taken: Vec<_> =
            introduction.held.extract_if(.., |frame| frame.publisher == publisher).collect();
        self.held -= taken.len();
        taken
    }

    /// The sibling has shown everything.
    pub(super) fn end(&mut self, channel: ChannelId) -> End {
        let Some(introduction) = self.by_channel.get_mut(&channel) else {
            return End::Unexpected;
        };
        introduction.under_way -= 1;
        if introduction.under_way > 0 {
            return End::Void;
        }
        let Some(ended) = self.by_channel.remove(&channel) else { return End::Unexpected };
        self.held -= ended.held.len();
        if ended.void {
            return End::Void;
        }
        End::Shown(ended.held.iter().map(|frame| frame.publisher).collect())
    }

    /// A node is out of reach.
    pub(super) fn lose(&mut self, node: NodeId) {
        for introduction in self.by_channel.values_mut() {
            introduction.lost.insert(node);
            let before = introduction.held.len();
            introduction.held.retain(|frame| frame.publisher.node() != node);
            self.held -= before - introduction.held.len();
        }
    }

    /// The channels whose sibling has been silent for too long. Their introductions are void from now on.
    pub(super) fn overdue(&mut self, now: WorldTime) -> Vec<ChannelId> {
        let is_overdue = |it: &Introduction| !it.void && now.since(it.since) >= INTRODUCTION_MS;
        let overdue: Vec<ChannelId> = self
            .by_channel
            .iter()
            .filter(|(_, introduction)| is_overdue(introduction))
            .map(|(channel, _)| *channel)
            .collect();
        overdue.iter().for_each(|channel| self.void(*channel));
        overdue
    }

    /// How many are under way, and how many frames are held.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.by_channel.len(), self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use pelago_model::{ChunkId, Incarnation, IslandId, Tick};
    use pelago_wire::frame::StreamKind;
    use pelago_wire::tick_stamp::TickStamp;

    const NOW: WorldTime = WorldTime(1_000_000);
    const CHANNEL: ChannelId = ChannelId::whole(IslandId(1), ChunkId::new(0, 0));

    fn publisher(node: u16) -> PublisherId {
        PublisherId::lane(NodeId(node), 0, Incarnation(1))
    }

    fn frame(node: u16, tick: u64) -> Arc<Frame> {
        Arc::new(Frame {
            publisher: publisher(node),
            channel: CHANNEL,
            stream: StreamKind::Entities,
            tick: Tick(tick),
            sequence: tick,
            core: Bytes::from_static(&[0]),
            sections: Default::default(),
            records: Vec::new(),
            edge_records: Vec::new(),
        })
    }

    fn snapshot(node: u16) -> Snapshot {
        Snapshot {
            publisher: publisher(node),
            channel: CHANNEL,
            stream: StreamKind::Entities,
            tick: Tick(1),
            sequence: 0,
            stamp: TickStamp::new(Tick(1), 0),
            answers: 0,
            bytes: Bytes::new(),
            records: Vec::new(),
        }
    }

    #[test]
    fn frames_are_held_by_stream_until_the_sibling_has_shown_it() {
        let mut introductions = Introductions::default();
        assert_eq!(introductions.hold(&frame(2, 1)), Unknown::Unexpected);
        assert!(introductions.begin(CHANNEL, NOW));
        for (node, tick) in [(2, 1), (3, 1), (2, 2), (4, 2)] {
            assert_eq!(introductions.hold(&frame(node, tick)), Unknown::Held);
        }
        assert!(introductions.expects(&snapshot(2)));
        assert_eq!(introductions.take((CHANNEL, publisher(2))), [frame(2, 1), frame(2, 2)]);
        introductions.lose(NodeId(4));
        assert!(!introductions.expects(&snapshot(4)));
        assert_eq!(introductions.sizes(), (1, 1));
        assert_eq!(introductions.end(CHANNEL), End::Shown(BTreeSet::from([publisher(3)])));
        assert_eq!(introductions.sizes(), (0, 0));
        assert_eq!(introductions.end(CHANNEL), End::Unexpected);
    }

    #[test]
    fn too_many_frames_void_the_introduction_and_are_forgotten() {
        let mut introductions = Introductions::default();
        introductions.begin(CHANNEL, NOW);
        for tick in 0..MAX_HELD_FRAMES as u64 {
            assert_eq!(introductions.hold(&frame(2, tick)), Unknown::Held);
        }
        assert_eq!(introductions.hold(&frame(2, 9999)), Unknown::TooMany);
        assert_eq!(introductions.sizes(), (1, 0));
        assert_eq!(introductions.hold(&frame(2, 10_000)), Unknown::Asked);
        assert!(!introductions.expects(&snapshot(2)));
        assert_eq!(introductions.end(CHANNEL), End::Void);
        assert_eq!(introductions.hold(&frame(2, 10_001)), Unknown::Unexpected);
    }

    #[test]
    fn of_introductions_that_overlap_none_is_believed() {
        let mut introductions = Introductions::default();
        assert!(introductions.begin(CHANNEL, NOW));
        introductions.hold(&frame(2, 1));
        introductions.void(CHANNEL);
        assert!(!introductions.begin(CHANNEL, NOW));
        assert!(!introductions.expects(&snapshot(2)));
        assert_eq!(introductions.end(CHANNEL), End::Void);
        assert!(introductions.is_under_way(CHANNEL));
        assert_eq!(introductions.end(CHANNEL), End::Void);
        assert!(introductions.begin(CHANNEL, NOW));
        assert!(introductions.expects(&snapshot(2)));
    }

    #[test]
    fn a_sibling_that_is_silent_for_too_long_is_not_waited_for() {
        let mut introductions = Introductions::default();
        introductions.begin(CHANNEL, NOW);
        introductions.hold(&frame(2, 1));
        assert_eq!(introductions.overdue(NOW.plus(INTRODUCTION_MS - 1)), []);
        assert_eq!(introductions.overdue(NOW.plus(INTRODUCTION_MS)), [CHANNEL]);
        assert_eq!(introductions.overdue(NOW.plus(INTRODUCTION_MS + 1)), []);
        assert_eq!(introductions.sizes(), (1, 0));
    }
}
