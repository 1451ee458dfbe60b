//! Faults are carried out when their time has come.

use super::{Event, Simulation};
use crate::faults::Kind;
use crate::network::Slow;
use crate::player::Player;
use crate::schedule::{Fault, PlannedFault};
use crate::violation::Violation;
use pelago_cluster::LinkId;
use pelago_model::NodeId;
use pelago_node::MailboxLimits;

/// How long after a guest of a storm has gone without a goodbye its node notices, in ms.
pub(super) const NOTICED_MS: i64 = 1500;

impl Simulation {
    fn node(&self, number: u16) -> NodeId {
        NodeId(1 + number % self.setup.nodes)
    }

    fn player(&self, number: u16) -> usize {
        usize::from(number) % self.setup.players
    }

    /// Carries out a fault, if there is anything that it can hit.
    pub(super) fn carry_out(&mut self, planned: PlannedFault) {
        let until = |ms: u32| self.now.plus(ms.into());
        match planned.fault {
            Fault::CutLink { node } => {
                let links = self.network.of(self.node(node));
                if let Some(end) = links.first().copied() {
                    self.count(Kind::LinkLoss);
                    self.cut(end);
                }
            }
            Fault::Partition { one, other, for_ms } => {
                self.partition(self.node(one), self.node(other), for_ms);
            }
            Fault::Crash { node, back_ms } => {
                let node = self.node(node);
                if self.nodes[&node].node.is_some() {
                    self.count(Kind::Crash);
                    self.crash(node, back_ms);
                }
            }
            Fault::Takeover { player, node, hidden_ms } => {
                self.take_over(self.player(player), self.node(node), hidden_ms, planned.number);
            }
            Fault::BlockPlayer { player, for_ms } => {
                self.block_player(self.player(player), for_ms);
            }
            Fault::BlockLink { node, for_ms } => {
                let (links, until) = (self.network.of(self.node(node)), until(for_ms));
                let is_written = |end: &&(NodeId, LinkId)| self.network.ends[*end].written;
                if let Some(end) = links.iter().rev().find(is_written).copied() {
                    self.count(Kind::BlockedLink);
                    self.block_link(end, until);
                }
            }
            Fault::CrashInWrite { node, .. }
            | Fault::Late { node, .. }
            | Fault::FailCommit { node }
            | Fault::FailLoad { node }
            | Fault::UnknownCommit { node, .. }
            | Fault::Hang { node, .. }
            | Fault::SlowCommit { node, .. } => {
                let node = self.node(node);
                if let Some(host) = self.nodes.get_mut(&node) {
                    host.waiting.push(planned.fault);
                }
            }
            Fault::SlowStore { factor, for_ms } => {
                self.slow_store = (factor.into(), until(for_ms));
                self.count(Kind::SlowStore);
            }
            Fault::SlowLinks { node, delay_ms, bytes_per_s, for_ms } => {
                let slow = Slow {
                    delay_ms: delay_ms.into(),
                    bytes_per_s: bytes_per_s.into(),
                    until: until(for_ms),
                };
                self.network.slow.insert(self.node(node), slow);
                self.count(Kind::SlowLink);
            }
            Fault::SetClock { node, skew_ms } => {
                let node = self.node(node);
                if let Some(host) = self.nodes.get_mut(&node) {
                    host.clock.set(skew_ms.into());
                    self.count(Kind::ClockStep);
                }
            }
            Fault::Drift { node, permille, for_ms } => {
                let (node, now, until) = (self.node(node), self.now, until(for_ms));
                if let Some(host) = self.nodes.get_mut(&node) {
                    host.clock.drift(now, permille.into(), until);
                    self.count(Kind::ClockDrift);
                }
            }
            Fault::WrongClock { node, by_ms, for_ms } => {
                let (node, until) = (self.node(node), until(for_ms));
                if let Some(host) = self.nodes.get_mut(&node) {
                    host.clock.set_wrong(by_ms.into(), until);
                    self.count(Kind::WrongClock);
                }
            }
            Fault::Vanish { player, noticed_ms, back_ms } => {
                let player = self.player(player);
                if self.players[player].client.is_some() {
                    self.count(Kind::Vanish);
                    let vanished = self.vanish(player, noticed_ms.into(), back_ms.into());
                    self.note(vanished);
                }
            }
            Fault::Storm { players, stay_ms, goodbye } => {
                self.count(Kind::Storm);
                for guest in 0..players {
                    self.welcome_guest(guest, (stay_ms, goodbye), planned.number);
                }
            }
            Fault::Stall { node, machine, for_ms } => self.stall(self.node(node), machine, for_ms),
            Fault::Stop { node, for_ms } => self.stop(self.node(node), for_ms),
            Fault::Squeeze { node, for_ms } => self.squeeze(self.node(node), for_ms),
            Fault::Migrate { player, node, goodbye } => {
                let migrated = self.migrate(self.player(player), self.node(node), goodbye);
                self.note(migrated);
            }
        }
    }

    /// The task of a machine is not woken when something comes, or has no processor for a while.
    fn stall(&mut self, id: NodeId, machine: u16, for_ms: u32) {
        let Some(host) = self.nodes.get_mut(&id).filter(|host| host.node.is_some()) else { return };
        let machines: Vec<_> = host.config.machines().collect();
        let machine = machines[usize::from(machine) % machines.len()];
        let life = host.config.incarnation;
        if host.stalled.insert(machine) {
            self.count(Kind::LostWakeUp);
            self.after(for_ms.into(), Event::Resume { node: id, life, machine });
        }
    }

    /// A node is stopped as a whole, and goes on after a while: no machine runs, and what comes for them waits.
    fn stop(&mut self, id: NodeId, for_ms: u32) {
        let Some(host) = self.nodes.get_mut(&id).filter(|host| host.node.is_some()) else { return };
        let (machines, life): (Vec<_>, _) =
            (host.config.machines().collect(), host.config.incarnation);
        host.stalled.extend(machines.iter().copied());
        self.count(Kind::Stop);
        for machine in machines {
            self.after(for_ms.into(), Event::Resume { node: id, life, machine });
        }
    }

    /// The mailboxes of a node have hardly any room for a while.
    fn squeeze(&mut self, id: NodeId, for_ms: u32) {
        let Some(host) = self.nodes.get_mut(&id) else { return };
        let life = host.config.incarnation;
        let Some(node) = &mut host.node else { return };
        node.set_mailbox_limits(MailboxLimits { frames: 1, calls: 1, ..MailboxLimits::default() });
        self.count(Kind::FullMailbox);
        self.after(for_ms.into(), Event::Relieve { node: id, life });
    }

    /// Nothing goes wrong any more, and what is wrong is put right.
    pub(super) fn calm_down(&mut self) {
        self.network.partitions.clear();
        self.network.slow.clear();
        self.slow_store.1 = self.now;
        for host in self.nodes.values_mut() {
            host.waiting.clear();
            host.stalled.clear();
            host.clock.set_right();
            if let Some(node) = &mut host.node {
                node.set_mailbox_limits(MailboxLimits::default());
            }
        }
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.serve(id);
        }
    }

    /// Two nodes cannot hear each other for a while.
    fn partition(&mut self, one: NodeId, other: NodeId, for_ms: u32) {
        if one == other {
            return;
        }
        self.count(Kind::Partition);
        let now = self.now;
        self.network.partitions.retain(|_, until| *until > now);
        self.network.partitions.insert((one.min(other), one.max(other)), now.plus(for_ms.into()));
    }

    /// Somebody logs in a second time.
    fn take_over(&mut self, whose: usize, node: NodeId, hidden_ms: u32, number: u32) {
        if !self.players[whose].core.is_playing() {
            return;
        }
        self.count(Kind::Takeover);
        let old = self.players[whose].node;
        if old != node && hidden_ms > 0 {
            // The old session's node does not hear of it for a while.
            self.partition(old, node, hidden_ms);
        }
        let numbers = (self.setup.seed, (u64::from(number) << 16) + 0xffff);
        let twin = self.newcomer(self.players[whose].name.clone(), node, numbers);
        self.arrive(Player { twin: true, ..twin });
    }

    fn welcome_guest(&mut self, guest: u16, (stay_ms, goodbye): (u32, bool), number: u32) {
        let numbers = (self.setup.seed, (u64::from(number) << 16) + u64::from(guest) + 1);
        let first = NodeId(1 + guest % self.setup.nodes.max(1));
        let player = self.newcomer(format!("guest-{guest}"), first, numbers);
        let leaves = Some((self.now.plus(stay_ms.into()), goodbye));
        self.arrive(Player { twin: true, leaves, ..player });
    }

    fn newcomer(&self, name: String, node: NodeId, numbers: (u64, u64)) -> Player {
        let nodes = self.nodes_from(node);
        Player::new(name, &nodes, self.now, numbers, self.setup.client_sabotage)
    }

    /// A violation that was found in the middle of a fault.
    fn note(&mut self, done: Result<(), Violation>) {
        if let Err(violation) = done {
            self.found.get_or_insert(violation);
        }
    }

    fn arrive(&mut self, player: Player) {
        let number = self.players.len();
        self.players.push(player);
        self.at(self.now, Event::Play(number));
    }

    fn block_player(&mut self, number: usize, for_ms: u32) {
        let player = &mut self.players[number];
        if let Some(client) = player.client.filter(|_| !player.blocked) {
            player.blocked = true;
            let node = player.node;
            self.count(Kind::BlockedPlayer);
            self.block_client(node, client);
            self.after(for_ms.into(), Event::PlayerWritable { player: number, client });
        }
    }

    /// A player is gone, and its node does not know yet. For a while it reaches nobody.
    pub(super) fn vanish(
        &mut self,
        number: usize,
        noticed_ms: i64,
        back_ms: i64,
    ) -> Result<(), Violation> {
        let player = &mut self.players[number];
        let Some(client) = player.client else { return Ok(()) };
        player.offline_until = self.now.plus(back_ms);
        let life = self.nodes[&player.node].config.incarnation;
        let node = player.node;
        self.after(noticed_ms, Event::Disconnected { node, life, client });
        self.cut_off(number, client)
    }

    /// A player goes on elsewhere. Without a goodbye its old session stands until it is superseded.
    fn migrate(&mut self, number: usize, node: NodeId, goodbye: bool) -> Result<(), Violation> {
        if !self.players[number].core.is_playing() || self.nodes[&node].node.is_none() {
            return Ok(());
        }
        self.count(Kind::Migration);
        if goodbye {
            self.say_goodbye(number)?;
        }
        self.start_client(number, Some(node))
    }
}
