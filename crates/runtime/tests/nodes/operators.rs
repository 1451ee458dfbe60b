//! The questions of operators, answered by nodes that run.

use crate::harness::{Cluster, address, status};
use crate::player::Player;
use pelago_model::{GrantKey, NodeId};
use pelago_net::recording::Passage;
use pelago_runtime::admin_calls::{
    Answer, AskError, CountersAnswer, GrantAnswer, GrantQuestion, HeldAnswer, IslandAnswer,
    Question, ask, ask_all,
};
use pelago_runtime::{AdminCalls, Node, ProcessCalls, StartError, TaskReport};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test]
async fn every_question_has_its_answer_from_every_node() {
    let cluster = Cluster::start(pelago_store::open("memory:").unwrap()).await;
    let calls: Arc<dyn AdminCalls> =
        Arc::new(ProcessCalls::new(cluster.nodes.iter().map(Node::handle)));
    let began = ask_all(&calls, &Question::BeginRecording).await;
    assert!(began.iter().all(|(_, answer)| *answer == Ok(Answer::Json(serde_json::Value::Null))));
    let anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    sleep(Duration::from_millis(300)).await;

    let first = status(&cluster.nodes[0]).await;
    assert_eq!((first.players, first.lanes, first.members), (1, 2, 2));
    assert_eq!((first.world.game.as_str(), first.id), ("frontier", NodeId(1)));
    let one = NodeId(1);
    let islands: Vec<IslandAnswer> = ask(&*calls, one, Question::Islands).await.unwrap();
    assert_eq!(islands[0].chunks, 6);
    let sizes: Vec<HeldAnswer> = ask(&*calls, one, Question::Sizes).await.unwrap();
    assert!(sizes.iter().any(|size| size.lane.is_none() && size.limit > 0));
    assert!(sizes.iter().any(|size| size.lane == Some(1)));
    let limits: BTreeMap<String, u64> = ask(&*calls, one, Question::Limits).await.unwrap();
    assert_eq!(limits.len(), pelago_model::Limit::ALL.len());
    let counters: CountersAnswer = ask(&*calls, one, Question::Counters).await.unwrap();
    assert!(counters.clients.received > 0 && counters.peers.sent > 0, "{counters:?}");
    assert!(counters.lanes.iter().any(|lane| lane.frames > 0), "{counters:?}");

    let tasks: Vec<TaskReport> = ask(&*calls, one, Question::Tasks).await.unwrap();
    let task = |name: &str| tasks.iter().find(|report| report.task == name).unwrap();
    for name in ["links", "arrivals", "lane_0", "lane_1", "service_0", "desk"] {
        assert!(task(name).busy_ns > 0 && task(name).mailbox_limit.is_some(), "{tasks:?}");
    }
    assert!(task("desk").longest_wait_ns > 0, "{tasks:?}");

    let recording = calls.ask(one, Question::EndRecording).await.unwrap();
    let Answer::Recording(bytes) = recording else { panic!("no recording") };
    assert!(Passage::decode_all(&bytes).iter().any(|passage| passage.read));

    let nobody = NodeId(9);
    assert_eq!(calls.ask(nobody, Question::Status).await, Err(AskError::NoSuchNode(nobody)));
    drop(anna);
    cluster.stop().await;
    for (node, answer) in ask_all(&calls, &Question::Status).await {
        assert_eq!(answer, Err(AskError::Ended(node)));
    }
}

#[tokio::test]
async fn a_grant_is_carried_out_once_whichever_node_is_asked() {
    let cluster = Cluster::start(pelago_store::open("memory:").unwrap()).await;
    let calls = ProcessCalls::new(cluster.nodes.iter().map(Node::handle));
    let anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    let grant = |avatar| {
        Question::Grant(GrantQuestion {
            key: GrantKey::parse("test-1").unwrap(),
            avatar,
            what: r#"{"items":{"berry":2}}"#.to_owned(),
            reason: "a test".to_owned(),
        })
    };
    let avatar = anna.session.avatar();
    let first: GrantAnswer = ask(&calls, NodeId(1), grant(avatar)).await.unwrap();
    let second: GrantAnswer = ask(&calls, NodeId(2), grant(avatar)).await.unwrap();
    assert!(matches!(first, GrantAnswer::Done { .. }), "{first:?}");
    assert_eq!(first, second);
    let stranger = pelago_model::EntityId(avatar.0 + 1000);
    let refused: GrantAnswer = ask(&calls, NodeId(1), grant(stranger)).await.unwrap();
    let GrantAnswer::Refused { code, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(code, "no_such_avatar");
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_without_a_game_or_a_store_says_what_it_needs() {
    let error = Node::builder().start().await.err().unwrap();
    assert!(matches!(error, StartError::Incomplete("game")), "{error}");
    let game = Arc::new(pelago_frontier::Frontier);
    let error = Node::builder().game(game.clone()).start().await.err().unwrap();
    assert!(matches!(error, StartError::Incomplete("store")), "{error}");
    let store = pelago_store::open("memory:").unwrap();
    let node = Node::builder().game(game).store(store).start().await.unwrap();
    drop(Player::arrive(&address(&node), "Anna").await);
    node.stop().await;
}
