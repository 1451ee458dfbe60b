//! A wave is shown as the waver's, wherever the waved-at is played.

use crate::harness::{Cluster, address, is_seen};
use crate::player::{PATIENCE, Player};
use pelago_client::{Change, Event};
use std::time::Instant;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_who_waves_at_whom() {
    let cluster = Cluster::start(pelago_store::open("memory:").unwrap()).await;
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    for node in [0, 1] {
        let mut bert = Player::arrive(&address(&cluster.nodes[node]), "Bert").await;
        is_seen(&mut bert, &mut anna).await;
        is_seen(&mut anna, &mut bert).await;
        let (from, to) = (anna.session.avatar(), bert.session.avatar());
        anna.session.act_live(format!(r#"{{"wave":"{to}"}}"#).into()).await.unwrap();
        let began = Instant::now();
        let gesture = 'seen: loop {
            assert!(began.elapsed() < PATIENCE, "nobody sees a wave");
            let Ok(Some(Event::Changes(changes))) = timeout(PATIENCE, bert.session.next()).await
            else {
                continue;
            };
            for change in changes {
                if let Change::Gesture(who, gesture, target) = change {
                    break 'seen (who, gesture, target);
                }
            }
        };
        assert_eq!(gesture, (from, 0, Some(to)));
        bert.session.bye().await;
    }
    cluster.stop().await;
}
