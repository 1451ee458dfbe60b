//! A session over real connections to real nodes goes on when they are cut.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;
#[path = "process/proxy.rs"]
#[allow(dead_code, reason = "no test needs all of it")]
mod proxy;

use pelago_client::{Event, Identity, Loss, Session, Settings, Transport};
use pelago_model::Secret;
use pelago_wire::client::Arrival;
use process::World;
use process::player::PATIENCE;
use proxy::{NetworkConditions, Proxy};
use tokio::time::timeout;

/// What the application is told next, without what is seen and the time.
async fn told(session: &mut Session) -> Event {
    let told = async {
        loop {
            match session.next().await.expect("it is over") {
                Event::Changes(_) | Event::Pong { .. } => {}
                event => return event,
            }
        }
    };
    timeout(PATIENCE, told).await.expect("nothing more is told")
}

#[tokio::test]
async fn a_session_that_is_cut_goes_on_at_another_node_and_repeats_its_command() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path());
    let proxy = Proxy::toward(world.tcp[0].parse().unwrap()).await;
    let identity = Identity {
        name: "Anna".into(),
        token: Secret::new(&b"a token of Anna's"[..]),
        arrival: Arrival::Home,
    };
    let addresses = vec![proxy.address.to_string(), world.tcp[1].clone()];
    let settings = Settings::new(identity, addresses, 1);
    let mut session = Session::start(settings, Transport::Tcp, None);
    assert_eq!(told(&mut session).await, Event::Welcomed);
    let (avatar, first) = (session.avatar(), session.welcome().node);

    // The command leaves, and nothing arrives any more; then the connection breaks.
    proxy.set(NetworkConditions { stalled: true, ..NetworkConditions::default() });
    session.act(r#"{"eat":{"item":"berry"}}"#.into()).await.unwrap();
    assert_eq!(session.unanswered().unwrap().sequence, 1);
    proxy.cut();
    assert!(matches!(told(&mut session).await, Event::Disconnected(Loss::Broken(_))));
    assert_eq!(told(&mut session).await, Event::Welcomed);
    assert_eq!(session.avatar(), avatar);
    assert_ne!(session.welcome().node, first);
    let Event::Outcome(outcome) = told(&mut session).await else { panic!("no outcome") };
    assert_eq!((outcome.sequence, outcome.code.as_str()), (1, "nothing_held"));

    // A line on which nothing comes any more is noticed by itself.
    proxy.set(NetworkConditions::default());
    session.cut();
    assert!(matches!(told(&mut session).await, Event::Disconnected(_)));
    assert_eq!(told(&mut session).await, Event::Welcomed);
    assert_eq!(session.welcome().node, first);
    proxy.set(NetworkConditions { stalled: true, ..NetworkConditions::default() });
    assert_eq!(told(&mut session).await, Event::Disconnected(Loss::Silent));
    assert_eq!(told(&mut session).await, Event::Welcomed);
    session.bye().await;
}
