//! A player comes a second time while the first session lives.

use crate::harness::{Cluster, address};
use crate::player::Player;
use pelago_model::Position;

/// How far an avatar walks at most between two looks at where it is, in 1/64 m.
const SLACK: f64 = 512.0;

fn distance(a: Position, b: Position) -> f64 {
    (a.distance_squared(b) as f64).sqrt()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_login_goes_on_where_the_avatar_is_at_any_node() {
    let cluster = Cluster::start(pelago_store::open("memory:").unwrap()).await;
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    // To the same node, which has two lanes, and to the other one.
    for node in [0, 1, 1, 0] {
        let began = anna.session.path().position_at(anna.session.island_now());
        let mut there = began;
        // Away from the place that the store has, within the time of a checkpoint.
        for _ in 0..3 {
            there = anna.walk().await;
        }
        anna.until("it has arrived", |session| session.path().end_time() <= session.island_now())
            .await;
        let again = Player::arrive(&address(&cluster.nodes[node]), "Anna").await;
        let here = again.session.path().start();
        assert!(distance(here, there) < 1.0, "from {began:?} to {there:?}, and then at {here:?}");
        anna.until("the first session ends", |session| !session.is_playing()).await;
        anna = again;
    }
    // Also in the middle of a walk.
    anna.walk().await;
    let last = anna.session.path().position_at(anna.session.island_now());
    let again = Player::arrive(&address(&cluster.nodes[1]), "Anna").await;
    assert!(distance(again.session.path().start(), last) < SLACK);
    cluster.stop().await;
}
