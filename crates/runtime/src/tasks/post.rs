//! The mailboxes of a node's machines, and the ways into them.
//!
//! Only sockets wait for room in a mailbox. What a full mailbox does with everything else is decided by
//! `pelago_node::mailbox`, the same in the simulator.

use crate::clock::WorldClock;
use crate::task_meter::TaskMeter;
use pelago_cluster::{Directory, LinksInput, Member};
use pelago_model::{Size, WorldTime};
use pelago_node::mailbox::{Full, MAX_CALLS, MAX_FRAMES, MAX_FROM_SOCKETS};
use pelago_node::{Composer, MachineId, MachineInput, Mailbox, Output, ShellEffect};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The mailbox of one machine.
struct Slot {
    /// Guards what waits. Held for a push or for taking a batch.
    mailbox: Mutex<Mailbox<MachineInput>>,
    /// Something came.
    came: Notify,
    /// The machine is asked to come round.
    asked: AtomicBool,
    /// There is room for sockets again.
    room: Notify,
    meter: Arc<TaskMeter>,
}

/// All mailboxes of a node.
pub(crate) struct Post {
    clock: Arc<WorldClock>,
    composer: Composer,
    /// Guards the directory, which is replaced whole when the address book changes.
    directory: Mutex<Arc<Directory>>,
    boxes: BTreeMap<MachineId, Slot>,
}

impl Post {
    /// Empty mailboxes for these machines, each with the meter of its task.
    pub(crate) fn new(
        clock: Arc<WorldClock>,
        composer: Composer,
        machines: impl IntoIterator<Item = (MachineId, Arc<TaskMeter>)>,
    ) -> Self {
        let empty = |(machine, meter): (MachineId, Arc<TaskMeter>)| {
            meter.set_limit(MAX_FROM_SOCKETS + MAX_FRAMES + MAX_CALLS);
            let mailbox = Mutex::new(Mailbox::new(machine));
            let (came, room, asked) = (Notify::new(), Notify::new(), AtomicBool::new(false));
            (machine, Slot { mailbox, came, asked, room, meter })
        };
        let boxes = machines.into_iter().map(empty).collect();
        Self { clock, composer, directory: Mutex::default(), boxes }
    }

    /// How the node is wired.
    pub(crate) fn composer(&self) -> &Composer {
        &self.composer
    }

    /// The directory, by the address book as it was told last.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the node the members of the cluster.
    pub(crate) fn set_members(&self, members: Vec<Member>) {
        let directory = Arc::new(Directory::new(&members));
        *self.directory.lock().unwrap_or_else(PoisonError::into_inner) = directory;
        self.tell(MachineInput::Links(LinksInput::Book(members)), &mut |_| ());
    }

    /// Puts something that does not come from a socket into a mailbox. What a full one refuses is answered, and such an
    /// answer may be for the shell.
    pub(crate) fn tell(&self, input: MachineInput, shell: &mut dyn FnMut(ShellEffect)) {
        let Some(mailbox) = self.boxes.get(&input.machine()) else { return };
        let refused = mailbox.push(self.clock.now(), input);
        if let Some(Full::Busy(input) | Full::Wait(input)) = refused {
            let mut outputs = Vec::new();
            self.composer.refuse_as_busy(&input, &mut outputs);
            for output in outputs {
                match output {
                    // An answer has its place: this goes no deeper.
                    Output::Machine(answer) => self.tell(answer, shell),
                    Output::Shell(effect) => shell(effect),
                }
            }
        }
    }

    /// Puts something that a socket brought into a mailbox, and waits until there is room. As long as it waits the socket
    /// is not read.
    pub(crate) async fn tell_from_socket(&self, input: MachineInput) {
        let Some(mailbox) = self.boxes.get(&input.machine()) else { return };
        let mut input = input;
        loop {
            let room = mailbox.room.notified();
            match mailbox.push(self.clock.now(), input) {
                Some(Full::Wait(waiting)) => input = waiting,
                // A socket brings no calls.
                None | Some(Full::Busy(_)) => return,
            }
            room.await;
        }
    }

    /// Asks all machines to come round, so that it is seen whether they do.
    pub(crate) fn ask_machines(&self) {
        for mailbox in self.boxes.values() {
            mailbox.asked.store(true, Ordering::Release);
            mailbox.came.notify_one();
        }
    }

    /// A machine has come round.
    pub(crate) fn note_turn(&self, machine: MachineId) {
        if let Some(mailbox) = self.boxes.get(&machine) {
            mailbox.asked.store(false, Ordering::Release);
            mailbox.meter.note_turn();
        }
    }

    /// Waits until something is in the mailbox of a machine, or it is asked to come round.
    pub(crate) async fn came(&self, machine: MachineId) {
        let Some(mailbox) = self.boxes.get(&machine) else { return std::future::pending().await };
        loop {
            let came = mailbox.came.notified();
            if !mailbox.lock().is_empty() || mailbox.asked.load(Ordering::Acquire) {
                return;
            }
            came.await;
        }
    }

    /// Takes what waits for a machine, at most so much.
    pub(crate) fn take(&self, machine: MachineId, most: usize, into: &mut Vec<MachineInput>) {
        let Some(mailbox) = self.boxes.get(&machine) else { return };
        let now = self.clock.now();
        let mut waiting = mailbox.lock();
        let had_room = waiting.has_room_for_sockets();
        let before = into.len();
        while into.len() - before < most
            && let Some(input) = waiting.pop(now)
        {
            into.push(input);
        }
        let longest_ms = waiting.take_longest_wait_ms();
        let has_room = waiting.has_room_for_sockets();
        drop(waiting);
        mailbox.meter.note_taken_many(into.len() - before, longest_ms);
        if has_room && !had_room {
            mailbox.room.notify_waiters();
        }
    }

    /// How full the mailbox of a machine is.
    pub(crate) fn sizes(&self, machine: MachineId) -> Vec<Size> {
        self.boxes.get(&machine).map(|mailbox| mailbox.lock().sizes()).unwrap_or_default()
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Mailbox<MachineInput>> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What found no room comes back.
    fn push(&self, now: WorldTime, input: MachineInput) -> Option<Full<MachineInput>> {
        let mut waiting = self.lock();
        let before = waiting.len();
        let refused = waiting.push(now, input).err();
        let came = waiting.len() - before;
        drop(waiting);
        if came > 0 {
            self.meter.note_sent();
            // One task reads it: a permit that is there already will do for this, too.
            self.came.notify_one();
        }
        refused
    }
}
