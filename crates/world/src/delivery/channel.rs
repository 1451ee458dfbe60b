//! The clients that watch a channel, and how far each knows its streams.

use super::alias::{Alias, Seat, make_stale};
use std::ops::Range;

/// The name of the stream of objects among the streams of a channel. Those of entities are named by the numbers of
/// their publishers, which are greater.
pub(super) const OBJECTS: u32 = 0;

/// How many seats and how many streams.
const HEAD: usize = 2;

/// The watchers of a channel, in the order of their seats, and its streams: each is known to each, more or less.
///
/// A table in one piece of memory, as a lane has thousands with a few cells each. In this order: how many seats there
/// are and how many streams, the names of the streams, a column of seats, and for each stream a column of aliases.
/// Columns have room for more seats than there are when these are many.
#[derive(Debug)]
pub(super) struct Channel {
    cells: Box<[u32]>,
}

impl Channel {
    /// Nobody watches it yet; the stream of objects is there.
    pub(super) fn new() -> Self {
        Self { cells: Box::new([0, 1, OBJECTS]) }
    }

    fn count(&self) -> usize {
        self.cells[0] as usize
    }

    fn streams(&self) -> usize {
        self.cells[1] as usize
    }

    /// How many seats fit into a column.
    fn room(&self) -> usize {
        (self.cells.len() - HEAD - self.streams()) / (1 + self.streams())
    }

    /// The filled cells of a column: of seats for 0, then of the aliases of each stream.
    fn column(&self, number: usize) -> Range<usize> {
        let start = HEAD + self.streams() + number * self.room();
        start..start + self.count()
    }

    fn seats(&self) -> &[u32] {
        &self.cells[self.column(0)]
    }

    /// The column of a stream.
    fn aliases(&self, name: u32) -> Option<Range<usize>> {
        let place = self.names().iter().position(|other| *other == name)?;
        Some(self.column(1 + place))
    }

    /// The names of its streams.
    pub(super) fn names(&self) -> &[u32] {
        &self.cells[HEAD..HEAD + self.streams()]
    }

    pub(super) fn is_watched(&self) -> bool {
        self.count() > 0
    }

    /// Adds a watcher who does not know any stream, unless it is there already.
    pub(super) fn watch(&mut self, seat: Seat) {
        let Err(place) = self.seats().binary_search(&seat.0) else { return };
        if self.count() == self.room() {
            self.resize(roomy(self.count() + 1));
        }
        let streams = self.streams();
        self.cells[0] += 1;
        for number in 0..=streams {
            let column = self.column(number);
            let cells = &mut self.cells[column][place..];
            cells.rotate_right(1);
            cells[0] = if number == 0 { seat.0 } else { Alias::Unopened.to_cell() };
        }
    }

    /// Takes off a watcher.
    pub(super) fn unwatch(&mut self, seat: Seat) {
        let Ok(place) = self.seats().binary_search(&seat.0) else { return };
        for number in 0..=self.streams() {
            let column = self.column(number);
            self.cells[column][place..].rotate_left(1);
        }
        self.cells[0] -= 1;
        if self.room() > roomy(self.count()) {
            self.resize(self.count());
        }
    }

    /// Gives all columns room for as many seats.
    fn resize(&mut self, room: usize) {
        let streams = self.streams();
        let mut cells = Vec::with_capacity(HEAD + streams + (1 + streams) * room);
        cells.extend_from_slice(&self.cells[..HEAD + streams]);
        for number in 0..=streams {
            cells.extend_from_slice(&self.cells[self.column(number)]);
            cells.resize(HEAD + streams + (1 + number) * room, 0);
        }
        self.cells = cells.into_boxed_slice();
    }

    /// Adds a stream that nobody knows, unless it is there already.
    pub(super) fn add_stream(&mut self, name: u32) {
        if self.names().contains(&name) {
            return;
        }
        let (room, end) = (self.room(), HEAD + self.streams());
        let mut cells = Vec::with_capacity(self.cells.len() + 1 + room);
        cells.extend_from_slice(&self.cells[..end]);
        cells.push(name);
        cells.extend_from_slice(&self.cells[end..]);
        cells.resize(self.cells.len() + 1 + room, Alias::Unopened.to_cell());
        cells[1] += 1;
        self.cells = cells.into_boxed_slice();
    }

    /// Takes off a stream.
    pub(super) fn remove_stream(&mut self, name: u32) {
        let Some(place) = self.names().iter().position(|other| *other == name) else { return };
        let (column, room) = (self.column(1 + place).start, self.room());
        let mut cells = std::mem::take(&mut self.cells).into_vec();
        cells.drain(column..column + room);
        cells.remove(HEAD + place);
        cells[1] -= 1;
        self.cells = cells.into_boxed_slice();
    }

    /// The clients that watch it.
    pub(super) fn watchers(&self) -> impl Iterator<Item = Seat> + '_ {
        self.seats().iter().map(|seat| Seat(*seat))
    }

    /// The readers of a stream.
    pub(super) fn readers(&self, name: u32) -> Option<Readers<'_>> {
        Some(Readers { seats: self.seats(), aliases: &self.cells[self.aliases(name)?] })
    }

    /// How far a watcher knows each stream.
    pub(super) fn known_to(&self, seat: Seat) -> impl Iterator<Item = (u32, Alias)> + '_ {
        let place = self.seats().binary_search(&seat.0).ok();
        let names = place.map(|place| (place, self.names())).into_iter();
        names.flat_map(move |(place, names)| {
            (1..).zip(names).map(move |(number, name)| {
                (*name, Alias::from_cell(self.cells[self.column(number).start + place]))
            })
        })
    }

    /// Notes how far a watcher knows a stream.
    pub(super) fn set(&mut self, name: u32, seat: Seat, alias: Alias) {
        if let (Some(column), Ok(place)) = (self.aliases(name), self.seats().binary_search(&seat.0))
        {
            self.cells[column.start + place] = alias.to_cell();
        }
    }

    /// A watcher misses something of all streams that it knows.
    pub(super) fn make_stale_for(&mut self, seat: Seat) {
        let Ok(place) = self.seats().binary_search(&seat.0) else { return };
        for number in 1..=self.streams() {
            let cell = self.column(number).start + place;
            make_stale(&mut self.cells[cell]);
        }
    }

    /// All clients that know a stream have missed something of it; returns them.
    pub(super) fn make_stale(&mut self, name: u32, mut missed: impl FnMut(Seat)) {
        let Some(aliases) = self.aliases(name) else { return };
        for (seat, alias) in self.column(0).zip(aliases) {
            if make_stale(&mut self.cells[alias]) {
                missed(Seat(self.cells[seat]));
            }
        }
    }
}

/// The readers of a stream, in the order of their seats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readers<'a> {
    seats: &'a [u32],
    aliases: &'a [u32],
}

impl Readers<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Seat, Alias)> + '_ {
        let aliases = self.aliases.iter().map(|cell| Alias::from_cell(*cell));
        self.seats.iter().map(|seat| Seat(*seat)).zip(aliases)
    }

    pub(super) fn get(&self, seat: Seat) -> Option<Alias> {
        let place = self.seats.binary_search(&seat.0).ok()?;
        Some(Alias::from_cell(self.aliases[place]))
    }
}

/// Room for as many seats, and for an eighth more: a few take no more than they need, and many are not moved with
/// each that comes.
fn roomy(seats: usize) -> usize {
    seats + seats / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Step {
        Watch(u32),
        Unwatch(u32),
        AddStream(u32),
        RemoveStream(u32),
        Open(u32, u32),
        MakeStale(u32),
        MakeStaleFor(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (seat, name) = (0..40u32, 0..5u32);
        prop_oneof![
            4 => seat.clone().prop_map(Step::Watch),
            2 => seat.clone().prop_map(Step::Unwatch),
            1 => name.clone().prop_map(Step::AddStream),
            1 => (1..5u32).prop_map(Step::RemoveStream),
            4 => (name.clone(), seat.clone()).prop_map(|(name, seat)| Step::Open(name, seat)),
            1 => name.prop_map(Step::MakeStale),
            1 => seat.prop_map(Step::MakeStaleFor),
        ]
    }

    /// The same, as maps: streams by name, aliases by seat.
    #[derive(Default)]
    struct Model {
        seats: BTreeMap<u32, ()>,
        streams: BTreeMap<u32, BTreeMap<u32, Alias>>,
    }

    impl Model {
        fn take(&mut self, step: &Step) {
            match *step {
                Step::Watch(seat) => {
                    self.seats.insert(seat, ());
                    for readers in self.streams.values_mut() {
                        readers.entry(seat).or_insert(Alias::Unopened);
                    }
                }
                Step::Unwatch(seat) => {
                    self.seats.remove(&seat);
                    for readers in self.streams.values_mut() {
                        readers.remove(&seat);
                    }
                }
                Step::AddStream(name) => {
                    let unopened = self.seats.keys().map(|seat| (*seat, Alias::Unopened));
                    self.streams.entry(name).or_insert_with(|| unopened.collect());
                }
                Step::RemoveStream(name) => {
                    self.streams.remove(&name);
                }
                Step::Open(name, seat) => {
                    if let Some(alias) =
                        self.streams.get_mut(&name).and_then(|readers| readers.get_mut(&seat))
                    {
                        *alias = Alias::Open(seat + name);
                    }
                }
                Step::MakeStale(name) => {
                    self.streams.entry(name).and_modify(|readers| {
                        readers.values_mut().for_each(stale);
                    });
                }
                Step::MakeStaleFor(seat) => {
                    for readers in self.streams.values_mut() {
                        readers.entry(seat).and_modify(stale);
                    }
                }
            }
        }
    }

    fn stale(alias: &mut Alias) {
        if let Alias::Open(number) = *alias {
            *alias = Alias::Stale(number);
        }
    }

    fn take(channel: &mut Channel, step: &Step) {
        match *step {
            Step::Watch(seat) => channel.watch(Seat(seat)),
            Step::Unwatch(seat) => channel.unwatch(Seat(seat)),
            Step::AddStream(name) => channel.add_stream(name),
            Step::RemoveStream(name) => channel.remove_stream(name),
            Step::Open(name, seat) => channel.set(name, Seat(seat), Alias::Open(seat + name)),
            Step::MakeStale(name) => channel.make_stale(name, |_| {}),
            Step::MakeStaleFor(seat) => channel.make_stale_for(Seat(seat)),
        }
    }

    proptest! {
        #[test]
        fn it_knows_of_each_what_maps_would(steps in prop::collection::vec(step(), 0..200)) {
            let (mut channel, mut model) = (Channel::new(), Model::default());
            model.take(&Step::AddStream(OBJECTS));
            for step in &steps {
                take(&mut channel, step);
                model.take(step);
                prop_assert!(channel.watchers().map(|seat| seat.0).eq(model.seats.keys().copied()));
                let names = channel.names().iter().copied();
                prop_assert_eq!(names.len(), model.streams.len());
                for name in names {
                    let readers: BTreeMap<_, _> =
                        channel.readers(name).unwrap().iter().map(|(seat, alias)| (seat.0, alias)).collect();
                    prop_assert_eq!(&readers, &model.streams[&name]);
                }
                for seat in 0..40 {
                    let known: BTreeMap<_, _> = channel.known_to(Seat(seat)).collect();
                    let readers = model.streams.iter();
                    let same = readers.filter_map(|(name, readers)| Some((*name, *readers.get(&seat)?)));
                    prop_assert!(known.into_iter().eq(same));
                }
            }
        }
    }
}
