//! Mailboxes: what waits for a machine, within limits.
//!
//! Only sockets ever wait for a mailbox: two full machines that waited for each other would never move again. So
//! messages of clients and of other nodes stay in their sockets, frames are left out and noted as missed, calls are
//! refused as `busy`, and answers have room reserved, since there are never more of them than questions.

use crate::machine_id::MachineId;
use pelago_model::{ChannelId, Size, WorldTime};
use std::collections::{BTreeSet, VecDeque};

/// Messages of clients and of other nodes that wait for one machine; beyond it their sockets are not read.
pub const MAX_FROM_SOCKETS: usize = 4096;
/// Batches of frames that wait for one machine; more are left out, and their channels noted as missed.
pub const MAX_FRAMES: usize = 1024;
/// Calls that wait for one machine; more are refused as `busy`.
pub const MAX_CALLS: usize = 8192;
/// Answers and notices that wait for one machine: as many as it has asked for, or as there are sessions and channels.
const MAX_RESERVED: usize = 1 << 20;
/// Channels that are noted as missed: as many as a lane can watch.
const MAX_MISSED: usize = 1 << 20;

/// What happens to a message that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It stays where it came from, and the socket is not read any further.
    Socket,
    /// It is left out, and its channels are noted as missed.
    Frames,
    /// It is refused as `busy`.
    Call,
    /// It has room reserved: the question that it answers, or the session or channel that it is about, counts against a
    /// limit of its own.
    Reserved,
}

/// A message that can wait in a mailbox.
pub trait Mail: Sized {
    /// What happens to it in a full mailbox.
    fn class(&self) -> Class;

    /// The channels of frames.
    fn channels(&self) -> Vec<ChannelId>;

    /// What tells a machine that it has missed frames; `None` if the machine finds out by itself.
    fn missed(machine: MachineId, channels: Vec<ChannelId>) -> Option<Self>;
}

/// A message for which there is no room.
#[derive(Debug, PartialEq, Eq)]
pub enum Full<T> {
    /// The sender waits, and sends it again when there is room.
    Wait(T),
    /// Its caller is told `busy`.
    Busy(T),
}

/// How much room a mailbox has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxLimits {
    /// For messages of sockets.
    pub from_sockets: usize,
    /// For batches of frames.
    pub frames: usize,
    /// For calls.
    pub calls: usize,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self { from_sockets: MAX_FROM_SOCKETS, frames: MAX_FRAMES, calls: MAX_CALLS }
    }
}

/// What waits for a machine, in the order in which it came.
#[derive(Debug)]
pub struct Mailbox<T> {
    machine: MachineId,
    limits: MailboxLimits,
    queue: VecDeque<(WorldTime, T)>,
    /// How many there are of each class.
    from_sockets: usize,
    frames: usize,
    calls: usize,
    reserved: usize,
    missed: BTreeSet<ChannelId>,
    left_out: u64,
    longest_wait_ms: i64,
}

impl<T: Mail> Mailbox<T> {
    /// The empty mailbox of a machine.
    pub fn new(machine: MachineId) -> Self {
        Self {
            machine,
            limits: MailboxLimits::default(),
            queue: VecDeque::new(),
            from_sockets: 0,
            frames: 0,
            calls: 0,
            reserved: 0,
            missed: BTreeSet::new(),
            left_out: 0,
            longest_wait_ms: 0,
        }
    }

    /// Puts something at its end.
    ///
    /// # Errors
    /// [`Full`], with what found no room.
    pub fn push(&mut self, now: WorldTime, mail: T) -> Result<(), Full<T>> {
        match mail.class() {
            Class::Socket if self.from_sockets >= self.limits.from_sockets => {
                return Err(Full::Wait(mail));
            }
            Class::Call if self.calls >= self.limits.calls => return Err(Full::Busy(mail)),
            Class::Frames if self.frames >= self.limits.frames => {
                self.left_out += 1;
                self.missed.extend(mail.channels());
                return Ok(());
            }
            class => *self.count(class) += 1,
        }
        self.queue.push_back((now, mail));
        Ok(())
    }

    /// Takes what came first. Frames that were left out are told once there is room again.
    pub fn pop(&mut self, now: WorldTime) -> Option<T> {
        if !self.missed.is_empty() && self.frames <= self.limits.frames / 2 {
            let channels = std::mem::take(&mut self.missed).into_iter().collect();
            if let Some(missed) = T::missed(self.machine, channels) {
                return Some(missed);
            }
        }
        let (came, mail) = self.queue.pop_front()?;
        self.longest_wait_ms = self.longest_wait_ms.max(now.since(came));
        *self.count(mail.class()) -= 1;
        Some(mail)
    }

    /// Gives it more or less room; the usual limits are never exceeded.
    pub fn set_limits(&mut self, limits: MailboxLimits) {
        self.limits = MailboxLimits {
            from_sockets: limits.from_sockets.min(MAX_FROM_SOCKETS),
            frames: limits.frames.min(MAX_FRAMES),
            calls: limits.calls.min(MAX_CALLS),
        };
    }

    /// Loses what came first, as no mailbox may: a bug for the simulator to find.
    pub fn lose_first(&mut self) {
        if let Some((_, mail)) = self.queue.pop_front() {
            *self.count(mail.class()) -= 1;
        }
    }

    fn count(&mut self, class: Class) -> &mut usize {
        match class {
            Class::Socket => &mut self.from_sockets,
            Class::Frames => &mut self.frames,
            Class::Call => &mut self.calls,
            Class::Reserved => &mut self.reserved,
        }
    }

    /// Whether another message of a socket has room.
    pub fn has_room_for_sockets(&self) -> bool {
        self.from_sockets < self.limits.from_sockets
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.queue.len() + usize::from(!self.missed.is_empty())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Batches of frames that were left out so far.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The longest that anything has waited since this was asked last, in ms.
    pub fn take_longest_wait_ms(&mut self) -> i64 {
        std::mem::take(&mut self.longest_wait_ms)
    }

    /// How full it is.
    pub fn sizes(&self) -> Vec<Size> {
        vec![
            Size::queue("messages of sockets in a mailbox", self.from_sockets, MAX_FROM_SOCKETS),
            Size::queue("frames in a mailbox", self.frames, MAX_FRAMES),
            Size::queue("calls in a mailbox", self.calls, MAX_CALLS),
            Size::queue("answers in a mailbox", self.reserved, MAX_RESERVED),
            Size::queue("missed channels of a mailbox", self.missed.len(), MAX_MISSED),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::{ChunkId, IslandId};

    #[derive(Debug, PartialEq, Eq)]
    enum Letter {
        Of(Class, u32),
        Frames(ChannelId),
        Missed(Vec<ChannelId>),
    }

    impl Mail for Letter {
        fn class(&self) -> Class {
            match self {
                Self::Of(class, _) => *class,
                Self::Frames(_) => Class::Frames,
                Self::Missed(_) => Class::Reserved,
            }
        }

        fn channels(&self) -> Vec<ChannelId> {
            match self {
                Self::Frames(channel) => vec![*channel],
                _ => Vec::new(),
            }
        }

        fn missed(_: MachineId, channels: Vec<ChannelId>) -> Option<Self> {
            Some(Self::Missed(channels))
        }
    }

    const NOW: WorldTime = WorldTime(1000);

    fn channel(x: i16) -> ChannelId {
        ChannelId::whole(IslandId(1), ChunkId::new(x, 0))
    }

    fn fill(mailbox: &mut Mailbox<Letter>, class: Class, count: usize) {
        for number in 0..count as u32 {
            mailbox.push(NOW, Letter::Of(class, number)).unwrap();
        }
    }

    #[test]
    fn everything_comes_out_in_the_order_in_which_it_came() {
        let mut mailbox = Mailbox::new(MachineId::Lane(0));
        let classes = [Class::Socket, Class::Call, Class::Reserved, Class::Socket];
        for (number, class) in (0u32..).zip(classes) {
            mailbox.push(NOW, Letter::Of(class, number)).unwrap();
        }
        for (number, class) in (0u32..).zip(classes) {
            assert_eq!(mailbox.pop(NOW), Some(Letter::Of(class, number)));
        }
        assert_eq!(mailbox.pop(NOW), None);
        assert!(mailbox.sizes().iter().all(|size| size.held == 0));
    }

    #[test]
    fn a_socket_waits_a_call_is_refused_and_an_answer_has_its_place() {
        let mut mailbox = Mailbox::new(MachineId::Lane(0));
        fill(&mut mailbox, Class::Socket, MAX_FROM_SOCKETS);
        fill(&mut mailbox, Class::Call, MAX_CALLS);
        assert!(!mailbox.has_room_for_sockets());
        let letter = |class| Letter::Of(class, 7);
        assert_eq!(
            mailbox.push(NOW, letter(Class::Socket)),
            Err(Full::Wait(letter(Class::Socket)))
        );
        assert_eq!(mailbox.push(NOW, letter(Class::Call)), Err(Full::Busy(letter(Class::Call))));
        assert_eq!(mailbox.push(NOW, letter(Class::Reserved)), Ok(()));
        mailbox.pop(NOW);
        assert!(mailbox.has_room_for_sockets());
    }

    #[test]
    fn frames_that_are_left_out_are_told_once_when_there_is_room() {
        let mut mailbox = Mailbox::new(MachineId::Lane(0));
        for _ in 0..MAX_FRAMES {
            mailbox.push(NOW, Letter::Frames(channel(0))).unwrap();
        }
        for x in [2, 1, 2] {
            mailbox.push(NOW, Letter::Frames(channel(x))).unwrap();
        }
        assert_eq!(mailbox.left_out(), 3);
        let mut missed = 0;
        while let Some(letter) = mailbox.pop(NOW) {
            if let Letter::Missed(channels) = letter {
                assert_eq!(channels, [channel(1), channel(2)]);
                missed += 1;
            }
        }
        assert_eq!(missed, 1);
        assert!(mailbox.is_empty());
    }

    #[test]
    fn the_longest_wait_is_told_and_forgotten() {
        let mut mailbox = Mailbox::new(MachineId::Lane(0));
        fill(&mut mailbox, Class::Call, 2);
        mailbox.pop(NOW.plus(30));
        mailbox.pop(NOW.plus(70));
        assert_eq!(mailbox.take_longest_wait_ms(), 70);
        assert_eq!(mailbox.take_longest_wait_ms(), 0);
    }
}
