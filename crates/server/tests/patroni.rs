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

use patroni::{LEASE_SECONDS, Member, Patroni};
use pelago_client::ConnectError;
use process::World;
use process::player::{Player, goes_to};
use proxy::NetworkConditions;
use std::process::Child;
use std::time::{Duration, Instant};

/// How long the world may take no commits, whatever was killed: the lease of the leader, the rounds in which members look
/// at etcd, and the time until connections are made anew.
const LONGEST_GAP: Duration = Duration::from_secs(LEASE_SECONDS as u64 + 40);
/// Bots who play all along.
const BOTS: usize = 60;
/// How long they play before each trouble, and after it.
const PEACE: Duration = Duration::from_secs(3);

/// What is done to a member: to the leader, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Its postgres is killed; its Patroni starts it again.
    PostgresKilled,
    /// Its Patroni and its postgres are killed.
    MemberKilled,
    /// The synchronous standby's Patroni and its postgres are killed.
    StandbyKilled,
    /// What it sends to etcd, and etcd to it, does not arrive.
    EtcdSilent,
    /// Its connections to etcd end, and new ones are refused.
    EtcdRefusing,
    /// Its Patroni stands still, and cannot stop its postgres when another one leads.
    PatroniStopped,
}

impl Trouble {
    fn begin(self, victim: &mut Member) {
        match self {
            Self::PostgresKilled => victim.kill_postgres(),
            Self::MemberKilled | Self::StandbyKilled => victim.kill(),
            Self::EtcdSilent => {
                victim.way_to_etcd(NetworkConditions {
                    stalled: true,
                    ..NetworkConditions::default()
                });
            }
            Self::EtcdRefusing => {
                victim.way_to_etcd(NetworkConditions {
                    refusing: true,
                    ..NetworkConditions::default()
                });
            }
            Self::PatroniStopped => victim.signal("STOP"),
        }
    }

    fn end(self, victim: &mut Member) {
        match self {
            Self::PostgresKilled => {}
            Self::MemberKilled | Self::StandbyKilled => victim.revive(),
            Self::EtcdSilent | Self::EtcdRefusing => {
                victim.way_to_etcd(NetworkConditions::default())
            }
            Self::PatroniStopped => victim.signal("CONT"),
        }
    }

    /// Whether another one has to lead afterwards. A postgres that was killed alone may be started again where it was.
    fn deposes(self) -> bool {
        !matches!(self, Self::PostgresKilled | Self::StandbyKilled)
    }
}

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
            Err(ConnectError::NoAnswer) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The longest time in which nobody was let in, since the trouble began and until it is over: when another one
    /// leads, if one has to.
    async fn longest_gap(
        &mut self,
        began: Instant,
        cluster: &Patroni,
        deposed: Option<usize>,
    ) -> Duration {
        let (mut let_in_at, mut longest) = (began, Duration::ZERO);
        // What follows from an election comes a moment later.
        let mut in_a_row = 0;
        while in_a_row < 20 {
            let leader = cluster.leader_without(deposed).await;
            let is_let_in = self.is_let_in().await;
            longest = longest.max(let_in_at.elapsed());
            assert!(longest < LONGEST_GAP, "nobody is let in any more: {}", cluster.logs());
            if is_let_in {
                let_in_at = Instant::now();
            }
            let is_over = is_let_in && leader.is_some() && leader != deposed;
            in_a_row = if is_over { in_a_row + 1 } else { 0 };
            assert!(began.elapsed() < 2 * LONGEST_GAP, "nobody else leads: {}", cluster.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        longest
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_a_postgres_or_a_whole_member_is_killed() {
    lose_nothing(&[Trouble::PostgresKilled, Trouble::StandbyKilled, Trouble::MemberKilled]).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_leader_cannot_renew_its_lease() {
    let troubles = [Trouble::EtcdSilent, Trouble::EtcdRefusing, Trouble::PatroniStopped];
    lose_nothing(&troubles).await;
}

/// Does these things to a whole cluster, one after the other, while people play.
async fn lose_nothing(troubles: &[Trouble]) {
    let mut cluster = Patroni::start().await;
    let directory = tempfile::tempdir().unwrap();
    let world = World::start_on(&directory.path().join("data"), &cluster.store());
    let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
    let mut bert = Player::arrive(&world.tcp[1], "Bert").await;
    let mut newcomers = Newcomers { address: world.tcp[2].clone(), count: 0 };
    assert!(newcomers.is_let_in().await);

    for trouble in troubles {
        let journal = directory.path().join(format!("{trouble:?}"));
        let bots = Bots(world.bots(BOTS, 3600, &journal));
        tokio::time::sleep(PEACE).await;
        let (leader, standby) = cluster.until_whole().await;
        let victim = if *trouble == Trouble::StandbyKilled { standby } else { leader };
        let began = Instant::now();
        trouble.begin(&mut cluster.members[victim]);
        // Those who are there walk on, and are seen.
        let there = anna.walk().await;
        bert.until("Bert sees Anna walk", |bert| goes_to(bert, &anna.session, there)).await;
        let deposed = trouble.deposes().then_some(leader);
        let gap = newcomers.longest_gap(began, &cluster, deposed).await;
        tokio::time::sleep(PEACE).await;
        drop(bots);
        let acknowledged = world.verify(&journal);
        println!(
            "{trouble:?}: no commits for {:.1} s; {acknowledged} commands acknowledged, none lost",
            gap.as_secs_f64()
        );
        assert!(acknowledged > 30, "only {acknowledged} commands were acknowledged at all");
        trouble.end(&mut cluster.members[victim]);
        // Whoever was the victim is a member again.
        cluster.until_whole().await;
    }
}
