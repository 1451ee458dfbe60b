//! A world on PostgreSQL that heals itself: whatever is killed, nothing that was acknowledged is lost, people walk on
//! meanwhile, and the world resumes by itself.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]
#![allow(clippy::print_stdout, reason = "tells how long each gap was")]

#[path = "process/patroni.rs"]
mod patroni;
mod process;
#[path = "process/proxy.rs"]
#[allow(dead_code, reason = "used in part")]
mod proxy;

use patroni::{LEASE_SECONDS, Patroni};
use pelago_client::ConnectError;
use process::World;
use process::player::{Player, goes_to};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long the world may take no commits, whatever was killed: the lease of the leader, the rounds in which members look
/// at etcd, and the time until connections are made anew.
const LONGEST_GAP: Duration = Duration::from_secs(LEASE_SECONDS as u64 + 40);
/// Bots who play all along.
const BOTS: usize = 60;

/// Bots who end with the test, however it ends.
struct Bots(Child);

impl Drop for Bots {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Who makes new avatars: each is a document that has to be durable.
struct Newcomers {
    address: String,
    count: u32,
}

impl Newcomers {
    /// Whether another one was let in: he cannot be before his avatar is durable.
    async fn is_let_in(&mut self) -> bool {
        self.count += 1;
        match Player::try_arrive(&self.address, &format!("newcomer-{}", self.count)).await {
            Ok(_) => true,
            Err(ConnectError::Refused { code, .. }) => {
                assert!(["unavailable", "busy"].contains(&&*code), "{code}");
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// How long nobody was let in, from now to the end of the trouble: when another one leads, if one is to.
    async fn gap(&mut self, what: &str, cluster: &Patroni, old_leader: Option<usize>) {
        let began = Instant::now();
        let mut refusals = 0;
        let mut lasted = Duration::ZERO;
        // The trouble may begin a moment after the kill: three in a row are its end.
        let mut in_a_row = 0;
        let is_old = |leader: Option<usize>| leader.is_none() || leader == old_leader;
        while in_a_row < 3 || is_old(cluster.leader_without(old_leader).await) {
            if self.is_let_in().await {
                in_a_row += 1;
            } else {
                (in_a_row, refusals) = (0, refusals + 1);
                lasted = began.elapsed();
            }
            assert!(began.elapsed() < LONGEST_GAP, "{what}: nobody is let in any more");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        println!("{what}: no commits for {:.1} s, {refusals} refused", lasted.as_secs_f64());
    }
}

#[tokio::test]
#[ignore = "needs the Debian packages patroni and etcd-server"]
async fn nothing_acknowledged_is_lost_when_a_postgres_or_a_member_is_killed() {
    loses_nothing(&["postgres killed", "member killed"]).await;
}

#[tokio::test]
#[ignore = "does not pass yet: see docs/next.md"]
async fn nothing_acknowledged_is_lost_when_the_leader_is_cut_off_from_etcd() {
    loses_nothing(&["cut off from etcd"]).await;
}

/// Does these things to whoever leads, one after the other, while people play.
async fn loses_nothing(troubles: &[&str]) {
    let mut cluster = Patroni::start().await;
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let world = World::start_on(&directory.path().join("data"), &cluster.store());
    let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
    let mut bert = Player::arrive(&world.tcp[1], "Bert").await;
    let mut newcomers = Newcomers { address: world.tcp[2].clone(), count: 0 };
    assert!(newcomers.is_let_in().await);
    let bots = Bots(world.bots(BOTS, 3600, &journal));
    tokio::time::sleep(Duration::from_secs(3)).await;

    for &what in troubles {
        let leader = cluster.leader().await;
        match what {
            "postgres killed" => cluster.members[leader].kill_postgres(),
            "member killed" => cluster.members[leader].kill(),
            _ => cluster.members[leader].reach_etcd(false),
        }
        // Those who are there walk on, and are seen.
        let there = anna.walk().await;
        bert.until("Bert sees Anna walk", |bert| goes_to(bert, &anna.session, there)).await;
        // A postgres that was killed alone may be started again where it was.
        let old_leader = (what != "postgres killed").then_some(leader);
        newcomers.gap(what, &cluster, old_leader).await;
        match what {
            "member killed" => cluster.members[leader].revive(),
            "cut off from etcd" => cluster.members[leader].reach_etcd(true),
            _ => {}
        }
        cluster.until_whole().await;
    }
    drop(bots);
    let acknowledged = world.verify(&journal);
    assert!(acknowledged > 50, "only {acknowledged} commands were acknowledged at all");
}
