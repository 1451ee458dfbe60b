//! Checkpoints of places on a store that takes nothing: how often it is asked, and what is written once it is back.
#![allow(clippy::unwrap_used, reason = "tests")]

mod players;

use pelago_frontier::Frontier;
use pelago_game::{Arrival, Game, Land};
use pelago_model::{CommitOutcome, Machine, WorldTime};
use pelago_node::lane::CHECKPOINT_MS;
use pelago_node::{Lane, LaneEffect, LaneInput, StoreAnswer};
use pelago_wire::client::{Move, client_message};
use players::{join, lane, says, spec};
use std::sync::Arc;

const NOW: WorldTime = WorldTime(1_000_050);

struct Stage {
    lane: Lane,
    now: WorldTime,
}

impl Stage {
    /// What the lane wants committed at once.
    fn handle(&mut self, input: LaneInput, outcome: &CommitOutcome) -> usize {
        let mut effects = Vec::new();
        self.lane.handle(self.now, input, &mut effects);
        let requests: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                LaneEffect::Commit { request, .. } => Some(*request),
                _ => None,
            })
            .collect();
        let commits = requests.len();
        for request in requests {
            let answer = StoreAnswer::Committed(outcome.clone());
            self.handle(LaneInput::Stored { request, answer }, outcome);
        }
        commits
    }

    /// Lets time pass while every commit ends like this: when commits were asked for.
    fn pass(&mut self, ms: i64, outcome: &CommitOutcome) -> Vec<i64> {
        let (until, mut commits) = (self.now.plus(ms), Vec::new());
        while let Some(wake) = self.lane.next_wake().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            let count = self.handle(LaneInput::Wake, outcome);
            commits.extend(std::iter::repeat_n(self.now.0, count));
        }
        self.now = until;
        commits
    }
}

#[test]
fn a_player_costs_a_store_that_takes_nothing_one_commit_per_checkpoint_and_is_written_in_the_end() {
    let land = Arc::new(Land::new(&Frontier, spec(8)));
    let mut stage = Stage { lane: lane(0, &land), now: NOW };
    let here = Frontier.spawn(&land, Arrival::Home, 1);
    stage.handle(join(1, here, NOW), &CommitOutcome::Failed);
    stage.pass(200, &CommitOutcome::Failed);
    let (at_ms, waypoints) = (stage.now.0, vec![here.x + 60, here.y]);
    let walk = Move { number: 1, at_ms, speed: 64, waypoints };
    stage.handle(says(1, client_message::Body::Move(walk)), &CommitOutcome::Failed);
    let commits = stage.pass(60_000, &CommitOutcome::Failed);
    assert!(commits.len() >= 10, "it is tried again, though nobody moves: {commits:?}");
    let pauses = commits.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses.min().unwrap() >= CHECKPOINT_MS, "{commits:?}");
    // The place is written once, now that the store takes it.
    assert_eq!(stage.pass(60_000, &CommitOutcome::Committed).len(), 1);
}
