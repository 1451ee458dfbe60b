//! What a lane tells a sibling that begins to read a channel which the node reads already, and what the sibling makes of it.

use super::{Ghosts, StreamId};
use bytes::BytesMut;
use pelago_wire::frame::{Frame, Snapshot, StreamKind, base};
use pelago_wire::record::Record;
use std::sync::Arc;

impl Ghosts {
    /// All that is known of a stream, for a lane that does not know it. It answers no subscription and has no number,
    /// so that its tick alone tells which frames it includes. `None` of a stream that is not known, and of a node that
    /// is out of reach: a lane that missed the loss would keep its ghosts for ever.
    pub fn shared_snapshot(&self, id: StreamId) -> Option<Snapshot> {
        let stream = self.streams.get(id)?;
        if self.lost.contains_key(&id) {
            return None;
        }
        let (channel, publisher) = id;
        let members = stream.members.as_slice().iter();
        let records: Vec<Record> = members
            .filter_map(|slot| self.enter_record(publisher, *slot).map(Record::Enter))
            .collect();
        let base = base(&channel, stream.tick(), &self.clock);
        let mut bytes = BytesMut::new();
        records.iter().for_each(|record| record.put(&base, &mut bytes));
        Some(Snapshot {
            publisher,
            channel,
            stream: StreamKind::Entities,
            tick: stream.tick(),
            sequence: 0,
            stamp: stream.stamp(),
            answers: 0,
            bytes: bytes.freeze(),
            records,
        })
    }

    /// Opens a stream with what a sibling knows of it, and with the frames that have come since, in their order. `false` if
    /// somebody in it is known to be in another channel. Which of the two is older cannot be told, since that channel has
    /// gone on while these frames were held: the other is kept, and the stream has to be asked of its publisher.
    pub fn open_with(&mut self, snapshot: &Snapshot, frames: &[Arc<Frame>]) -> bool {
        let stream = (snapshot.channel, snapshot.publisher);
        // Apart from the rest, which is newer than the oldest of these frames.
        let mut apart = Self::new(self.clock);
        apart.apply_snapshot(snapshot);
        for frame in frames.iter().filter(|frame| frame.tick > snapshot.tick) {
            apart.apply_frame(frame);
        }
        let Some(mut merged) = apart.shared_snapshot(stream) else { return false };
        let known = merged.records.len();
        merged.records.retain(|record| match record {
            Record::Enter(enter) => self
                .ghost(stream.1, enter.slot)
                .is_none_or(|ghost| ghost.channel == snapshot.channel),
            _ => true,
        });
        self.apply_snapshot(&merged);
        merged.records.len() == known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::{Published, Publisher, Shown};
    use pelago_model::{
        ChannelId, ChunkId, EntityId, Epoch, Incarnation, IslandClock, IslandId, IslandTime,
        LaneSet, NodeId, Position, PublisherId, Reader, Tick, Trajectory, WorldTime,
    };
    use pelago_wire::record::Slot;

    const CLOCK: IslandClock = IslandClock::IDENTITY;
    const ISLAND: IslandId = IslandId(1);
    const WEST: ChannelId = ChannelId::whole(ISLAND, ChunkId::new(0, 0));
    const EAST: ChannelId = ChannelId::whole(ISLAND, ChunkId::new(1, 0));
    const READER: Reader = Reader::Node(NodeId(2));

    fn publisher() -> Publisher {
        let id = PublisherId::lane(NodeId(1), 0, Incarnation(1));
        let mut publisher = Publisher::new(id, CLOCK);
        [WEST, EAST].into_iter().for_each(|channel| publisher.subscribe(READER, channel, 1));
        publisher
    }

    fn still(tick: u64, x: i32) -> Trajectory {
        Trajectory::still(IslandTime(tick as i64 * 100), Position::new(x, 100))
    }

    fn enter(publisher: &mut Publisher, id: u64, tick: u64, x: i32) -> Slot {
        let shown = Shown {
            id: EntityId(id),
            epoch: Epoch(1),
            kind: 0,
            stance: 0,
            name: "Ada".into(),
            trajectory: still(tick, x),
            island: ISLAND,
        };
        publisher.enter(shown, Tick(tick)).unwrap()
    }

    /// Takes in what a publisher brought forth on some channels; gives back its frames on the others.
    fn take(ghosts: &mut Ghosts, published: Published, reads: &[ChannelId]) -> Vec<Arc<Frame>> {
        let (read, held): (Vec<_>, Vec<_>) =
            published.frames.into_iter().partition(|frame| reads.contains(&frame.channel));
        read.iter().for_each(|frame| {
            ghosts.apply_frame(frame);
        });
        for (_, snapshot) in &published.snapshots {
            if reads.contains(&snapshot.channel) {
                ghosts.apply_snapshot(snapshot);
            }
        }
        held
    }

    fn everybody(ghosts: &Ghosts) -> Vec<(EntityId, ChannelId, Trajectory)> {
        let known = ghosts.iter().map(|(_, it)| (it.id, it.channel, it.trajectory.clone()));
        known.collect()
    }

    #[test]
    fn a_sibling_that_is_shown_a_stream_knows_what_a_reader_from_the_beginning_knows() {
        let mut publisher = publisher();
        let (mut old, mut new) = (Ghosts::new(CLOCK), Ghosts::new(CLOCK));
        let one = enter(&mut publisher, 1, 10, 1000);
        enter(&mut publisher, 2, 10, 1100);
        take(&mut old, publisher.publish(Tick(10)), &[WEST]);
        let stream = (WEST, publisher.id());
        let shown = old.shared_snapshot(stream).unwrap();
        assert_eq!((shown.sequence, shown.answers, shown.tick), (0, 0, Tick(10)));
        assert_eq!(Snapshot::decode(shown.to_peer(0), &CLOCK), Ok(shown.clone()));
        // The next two frames are held until the snapshot is there; the first of them is in it.
        publisher.turn(one, still(11, 700), false);
        let first = publisher.publish(Tick(11)).frames;
        first.iter().for_each(|frame| assert!(old.apply_frame(frame)));
        let shown = old.shared_snapshot(stream).unwrap();
        publisher.leave(one, Tick(12));
        enter(&mut publisher, 3, 12, 900);
        let second = publisher.publish(Tick(12)).frames;
        second.iter().for_each(|frame| assert!(old.apply_frame(frame)));
        assert!(new.open_with(&shown, &[first, second].concat()));
        assert_eq!(everybody(&new), everybody(&old));
        assert_eq!(new.shared_snapshot(stream), old.shared_snapshot(stream));
    }

    #[test]
    fn somebody_who_has_gone_back_meanwhile_stays_where_it_was_seen_last() {
        let mut publisher = publisher();
        let (mut old, mut new) = (Ghosts::new(CLOCK), Ghosts::new(CLOCK));
        let slot = enter(&mut publisher, 1, 10, 1000);
        let published = publisher.publish(Tick(10));
        published.snapshots.iter().for_each(|(_, snapshot)| old.apply_snapshot(snapshot));
        take(&mut new, published, &[WEST]);
        // It crosses the border to the east, and the old reader shows it there.
        publisher.turn(slot, still(11, 2000), false);
        let published = publisher.publish(Tick(11));
        published.frames.iter().for_each(|frame| assert!(old.apply_frame(frame)));
        let mut held = take(&mut new, published, &[WEST]);
        assert_eq!(everybody(&new), []);
        let shown = old.shared_snapshot((EAST, publisher.id())).unwrap();
        assert_eq!(shown.records.len(), 1);
        // It comes back before the new reader has seen that.
        publisher.turn(slot, still(12, 1000), false);
        held.extend(take(&mut new, publisher.publish(Tick(12)), &[WEST]));
        let before = everybody(&new);
        assert_eq!(before.len(), 1);
        assert!(new.open_with(&shown, &held), "who has left is in nobody's way");
        assert_eq!(everybody(&new), before);
        // The same without the frame that tells: then the stream is asked of its publisher.
        new.drop_stream((EAST, publisher.id()));
        assert!(!new.open_with(&shown, &[]));
        assert_eq!(everybody(&new), before);
        assert!(new.knows((EAST, publisher.id())));
    }

    #[test]
    fn nothing_is_told_of_a_node_that_is_out_of_reach() {
        let mut publisher = publisher();
        let mut ghosts = Ghosts::new(CLOCK);
        enter(&mut publisher, 1, 10, 1000);
        take(&mut ghosts, publisher.publish(Tick(10)), &[WEST]);
        let stream = (WEST, publisher.id());
        assert!(ghosts.shared_snapshot(stream).is_some());
        ghosts.lose(NodeId(1), WorldTime(2000));
        assert_eq!(ghosts.shared_snapshot(stream), None);
        assert_eq!(ghosts.shared_snapshot((EAST, publisher.id())), None);
    }

    #[test]
    fn a_lane_that_is_answered_with_a_tick_does_not_read_its_frame() {
        let mut publisher = publisher();
        let slot = enter(&mut publisher, 1, 10, 1000);
        publisher.publish(Tick(10));
        let lanes = |publisher: &Publisher| publisher.readers(WEST).0.iter().collect::<Vec<_>>();
        publisher.subscribe(Reader::Lane(3), WEST, 1);
        publisher.subscribe(Reader::Lane(5), WEST, 1);
        publisher.say(slot, "One".into());
        let published = publisher.publish(Tick(11));
        assert_eq!((published.frames.len(), published.snapshots.len()), (1, 2));
        assert_eq!(publisher.readers(WEST), (LaneSet::EMPTY, true));
        // A lane that asks again misses one frame, which its new snapshot includes.
        publisher.subscribe(Reader::Lane(5), WEST, 2);
        publisher.publish(Tick(12));
        assert_eq!(lanes(&publisher), [3]);
        publisher.publish(Tick(13));
        assert_eq!(lanes(&publisher), [3, 5]);
        publisher.unsubscribe(Reader::Lane(3), WEST);
        publisher.unsubscribe(READER, WEST);
        assert!(!publisher.readers(WEST).1);
        assert_eq!(lanes(&publisher), [5]);
    }
}
