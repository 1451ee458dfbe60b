//! A player, as tests play it: everything that has to happen at last is waited for, nothing is timed.

use pelago_client::{Change, ConnectError, Event, Identity, RequestError, Session, Transport};
use pelago_model::{Position, Secret, WorldTime};
use pelago_wire::client::Arrival;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long anything may take that has to happen at last.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The speed of players, in 1/64 m per second.
const SPEED: u16 = 256;

/// A player on a connection of its own.
pub(crate) struct Player {
    pub(crate) session: Session,
    heard: Vec<String>,
}

impl Player {
    /// Logs in once.
    pub(crate) async fn try_arrive(address: &str, name: &str) -> Result<Self, ConnectError> {
        let identity = Identity {
            name: name.to_owned(),
            token: Secret::new(format!("{name:-<16}")),
            arrival: Arrival::Home,
        };
        let session = Session::open(address, &Transport::Tcp, None, &identity).await?;
        Ok(Self { session, heard: Vec::new() })
    }

    /// Logs in, again and again if it has to be.
    pub(crate) async fn arrive(address: &str, name: &str) -> Self {
        let began = Instant::now();
        loop {
            match Self::try_arrive(address, name).await {
                Ok(player) => return player,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{name}: {error}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Takes in what comes until something holds.
    pub(crate) async fn until(&mut self, what: &str, mut holds: impl FnMut(&Session) -> bool) {
        let began = Instant::now();
        while !holds(&self.session) {
            assert!(began.elapsed() < PATIENCE, "{what} did not happen");
            self.take_in(Duration::from_millis(50)).await;
        }
    }

    /// Takes in what comes for a while; false if the connection has ended.
    pub(crate) async fn take_in(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match timeout(left, self.session.next()).await {
                Ok(Some(Event::Disconnected(_) | Event::Ended { .. }) | None) => return false,
                Ok(Some(event)) => self.listen(event),
                Err(_) => {}
            }
        }
        true
    }

    /// Keeps what was said, and forgets everything else.
    fn listen(&mut self, event: Event) {
        let Event::Changes(changes) = event else { return };
        let said = changes.into_iter().filter_map(|change| match change {
            Change::Said(_, text) => Some(text.to_string()),
            _ => None,
        });
        self.heard.extend(said);
    }

    /// Takes in what comes until somebody says this.
    pub(crate) async fn until_heard(&mut self, text: &str) {
        let began = Instant::now();
        while !self.heard.iter().any(|heard| heard == text) {
            assert!(began.elapsed() < PATIENCE, "nobody said {text:?}");
            self.take_in(Duration::from_millis(50)).await;
        }
        self.heard.clear();
    }

    /// Asks to eat what it does not have, which only the documents can tell, and returns the code of the refusal. While
    /// nobody can tell, that is `unavailable`.
    pub(crate) async fn eat_nothing(&mut self) -> String {
        let asked = self.session.act(r#"{"eat":{"item":"berry"}}"#.into()).await;
        // The same may be under way still.
        assert!(matches!(asked, Ok(()) | Err(RequestError::Busy)), "{asked:?}");
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match timeout(PATIENCE, self.session.next()).await.unwrap().unwrap() {
                Event::Outcome(outcome) if outcome.sequence > 0 => return outcome.code,
                Event::Unsettled { .. } => return "unavailable".to_owned(),
                event => self.listen(event),
            }
        }
        panic!("nobody answered");
    }

    /// World time, as the node says it.
    pub(crate) async fn world_time(&mut self) -> WorldTime {
        self.session.ping().await.unwrap();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match timeout(PATIENCE, self.session.next()).await.unwrap() {
                Some(Event::Pong { world_time, .. }) => return world_time,
                Some(_) => {}
                None => break,
            }
        }
        panic!("nobody told the time");
    }

    /// Asks to stand where it is, which nothing but the time can forbid. Whether that is allowed.
    pub(crate) async fn stands_still(&mut self) -> bool {
        // No faster than pings are answered.
        self.take_in(Duration::from_millis(600)).await;
        let walk = self.session.walk(SPEED, &[]).await.unwrap();
        self.session.ping().await.unwrap();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match timeout(PATIENCE, self.session.next()).await.unwrap() {
                Some(Event::MoveRefused { number, .. }) if number == walk.number => return false,
                // What was asked before is answered before.
                Some(Event::Pong { .. }) => return true,
                Some(event) => self.listen(event),
                None => break,
            }
        }
        panic!("nobody answered");
    }

    /// Takes in what comes until it has come to where it goes.
    pub(crate) async fn arrive_at(&mut self, there: Position) {
        let is_there =
            |session: &Session| session.path().position_at(session.island_now()) == there;
        self.until("to arrive", is_there).await;
    }

    /// Walks a few metres to wherever it may, and returns where that is.
    pub(crate) async fn walk(&mut self) -> Position {
        for (dx, dy) in [(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1)] {
            let here = self.session.path().position_at(self.session.island_now());
            let there = Position::new(here.x + 128 * dx, here.y + 128 * dy);
            self.session.walk(SPEED, &[there]).await.unwrap();
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(3) {
                self.take_in(Duration::from_millis(50)).await;
                if goes_to(&self.session, &self.session, there) {
                    return there;
                }
                if self.session.path().destination() != there {
                    // Refused.
                    break;
                }
            }
        }
        panic!("there was nowhere to go");
    }
}

/// Whether somebody sees that somebody goes to a place.
pub(crate) fn goes_to(observer: &Session, who: &Session, there: Position) -> bool {
    observer.view().find(who.avatar()).is_some_and(|seen| seen.trajectory.destination() == there)
}
