//! The login over a real store in memory: names belong to tokens.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::{Arrival, IslandSpec, Land};
use pelago_model::{
    CommitOutcome, EntityId, IslandClock, IslandId, Key, Machine, NodeId, Revision, Secret,
    Transaction, WorldNumber, WorldTime, Write,
};
use pelago_node::avatar::NameDocument;
use pelago_node::login::MAX_LOGINS;
use pelago_node::{ControlInput, Effect, LaneInput, Login, LoginConfig, LoginInput, Message};
use pelago_store::Memory;
use pelago_world::ClientId;
use std::collections::BTreeMap;
use std::sync::Arc;

const ANNAS: &[u8] = b"Anna's own token";
const OTHER: &[u8] = b"somebody else's!";

struct Gate {
    login: Login,
    store: Memory,
    clients: u64,
    log: Vec<String>,
}

/// The avatar that was let in, or the public code.
type Answer = Result<EntityId, String>;

impl Gate {
    fn new() -> Self {
        Self { login: login(), store: Memory::default(), clients: 0, log: Vec::new() }
    }

    fn hello(&mut self, name: &str, token: &'static [u8]) -> Answer {
        let client = self.client();
        let input = hello(client, name, token);
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in handle(&mut self.login, input) {
                match self.answer(effect) {
                    Step::Input(input) => inputs.push(input),
                    Step::Answer(answer) => return answer,
                    Step::Nothing => {}
                }
            }
        }
        panic!("no answer");
    }

    fn client(&mut self) -> ClientId {
        self.clients += 1;
        ClientId(self.clients)
    }

    fn answer(&mut self, effect: Effect) -> Step {
        match effect {
            Effect::Load { request_id, keys, .. } => {
                let documents = Some(keys.iter().map(|key| self.store.get(key)).collect());
                Step::Input(LoginInput::Loaded { request_id, documents })
            }
            Effect::Commit { request_id, transaction, .. } => {
                let outcome = self.store.apply(transaction);
                Step::Input(LoginInput::Committed { request_id, outcome })
            }
            Effect::To(Message::Control(ControlInput::LoginRefused { refusal, .. })) => {
                Step::Answer(Err(refusal.code.to_string()))
            }
            Effect::To(Message::Lane(_, LaneInput::Join(session))) => {
                Step::Answer(Ok(session.avatar))
            }
            Effect::Log { text, .. } => {
                self.log.push(text);
                Step::Nothing
            }
            _ => Step::Nothing,
        }
    }

    fn name(&self, name: &str) -> (Revision, NameDocument) {
        let found = self.store.get(&Key::name(name));
        (found.revision, NameDocument::read(&found).unwrap().unwrap())
    }

    fn write_name(&self, name: &str, schema: u16, value: &str) {
        let key = Key::name(name);
        let expected = self.store.get(&key).revision;
        let value = Some(Bytes::copy_from_slice(value.as_bytes()));
        let writes = vec![Write { key, expected, schema, value }];
        let outcome = self.store.apply(Transaction { checks: Vec::new(), writes });
        assert_eq!(outcome, CommitOutcome::Committed);
    }
}

/// Every document of an avatar that logs in, as a newer build has written it.
#[test]
fn a_document_of_a_newer_build_keeps_its_avatar_out_and_stays_as_it_is() {
    for kind in ["name", "avatar", "place", "ids"] {
        let mut gate = Gate::new();
        let anna = gate.hello("Anna", ANNAS).unwrap();
        let (name, key) = match kind {
            "name" => ("Anna", Key::name("Anna")),
            "avatar" => ("Anna", Key::avatar(anna)),
            "place" => ("Anna", Key::place(anna)),
            // Whoever is new needs a serial.
            _ => ("Bert", Key::serials()),
        };
        let found = gate.store.get(&key);
        let schema = found.schema + 1;
        let writes = vec![Write { key, expected: found.revision, schema, value: found.value }];
        gate.store.apply(Transaction { checks: Vec::new(), writes });
        let before = gate.store.snapshot();
        // Another node, which has leased no serials yet.
        gate.login = login();
        assert_eq!(gate.hello(name, ANNAS), Err("unavailable".into()), "{kind}");
        assert_eq!(gate.store.snapshot(), before, "{kind}");
        let text = gate.log.pop().unwrap();
        let expected = format!("{kind} documents are read up to schema {}", schema - 1);
        assert!(text.contains(&expected) && text.contains(&format!("has {schema}")), "{text}");
    }
}

enum Step {
    Input(LoginInput),
    Answer(Answer),
    Nothing,
}

fn login() -> Login {
    let home = IslandId::new(WorldNumber::new(1).unwrap(), 1);
    let spec = IslandSpec { id: home, seed: 7, size: 8, generator: 1 };
    Login::new(LoginConfig {
        node: NodeId(1),
        world: WorldNumber::new(1).unwrap(),
        lanes: 1,
        spread: 1,
        game: Arc::new(Frontier),
        home,
        lands: BTreeMap::from([(home, Arc::new(Land::new(&Frontier, spec)))]),
        clock: IslandClock::IDENTITY,
    })
}

fn hello(client: ClientId, name: &str, token: &'static [u8]) -> LoginInput {
    let (name, token) = (name.to_owned(), Secret::new(token));
    LoginInput::Hello { client, name, token, arrival: Arrival::Home }
}

fn handle(login: &mut Login, input: LoginInput) -> Vec<Effect> {
    let mut effects = Vec::new();
    login.handle(WorldTime(1000), input, &mut effects);
    effects
}

#[test]
fn the_first_login_binds_a_name_and_others_are_refused() {
    let mut gate = Gate::new();
    let anna = gate.hello("Anna", ANNAS).unwrap();
    assert_eq!(gate.hello("Anna", OTHER), Err("token".into()));
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
    // The same token under another name is another avatar.
    assert_ne!(gate.hello("Bert", ANNAS).unwrap(), anna);
    // Binding is written once.
    assert_eq!(gate.name("Anna").0, Revision(1));
}

#[test]
fn a_token_that_is_too_short_or_too_long_is_refused_before_anything_is_read() {
    let mut gate = Gate::new();
    for token in [&b""[..], &[1; 15], &[1; 65]] {
        let client = gate.client();
        let effects = handle(&mut gate.login, hello(client, "Anna", token));
        let [effect] = <[Effect; 1]>::try_from(effects).unwrap();
        assert!(matches!(gate.answer(effect), Step::Answer(Err(code)) if code == "token"));
    }
    assert!(gate.hello("Anna", &[1; 16]).is_ok());
    assert!(gate.hello("Bert", &[1; 64]).is_ok());
}

#[test]
fn a_name_of_an_older_world_is_bound_by_its_next_login() {
    let mut gate = Gate::new();
    let anna = gate.hello("Anna", OTHER).unwrap();
    // As the first schema wrote it.
    gate.write_name("Anna", 1, &format!(r#"{{"avatar":"{anna}"}}"#));
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
    assert!(gate.name("Anna").1.token.is_some());
    assert_eq!(gate.hello("Anna", OTHER), Err("token".into()));
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
}

#[test]
fn a_name_that_lost_its_token_opens_to_nobody() {
    let mut gate = Gate::new();
    let anna = gate.hello("Anna", ANNAS).unwrap();
    gate.write_name("Anna", 2, &format!(r#"{{"avatar":"{anna}"}}"#));
    assert_eq!(gate.hello("Anna", ANNAS), Err("unavailable".into()));
}

#[test]
fn of_two_who_bind_a_name_at_once_one_wins() {
    let mut gate = Gate::new();
    let anna = gate.hello("Anna", OTHER).unwrap();
    gate.write_name("Anna", 1, &format!(r#"{{"avatar":"{anna}"}}"#));
    // The first is about to commit when the second, on another node, takes the name.
    let mut effects = handle(&mut gate.login, hello(ClientId(100), "Anna", OTHER));
    for _ in 0..2 {
        let effect = effects.pop().unwrap();
        let Step::Input(input) = gate.answer(effect) else { panic!("not an input") };
        effects = handle(&mut gate.login, input);
    }
    let commit = effects.pop().unwrap();
    assert!(matches!(commit, Effect::Commit { .. }));
    let here = std::mem::replace(&mut gate.login, login());
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
    gate.login = here;
    let mut step = gate.answer(commit);
    let code = loop {
        let Step::Input(input) = step else { panic!("not an input") };
        let effect = handle(&mut gate.login, input).pop().unwrap();
        step = gate.answer(effect);
        if let Step::Answer(answer) = step {
            break answer;
        }
    };
    assert_eq!(code, Err("token".into()));
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
}

#[test]
fn those_who_went_while_the_store_was_slow_still_count() {
    let mut gate = Gate::new();
    for _ in 0..MAX_LOGINS {
        let client = gate.client();
        assert!(matches!(
            handle(&mut gate.login, hello(client, "Anna", ANNAS))[..],
            [Effect::Load { .. }]
        ));
        handle(&mut gate.login, LoginInput::Gone { client });
    }
    let client = gate.client();
    let effects = handle(&mut gate.login, hello(client, "Anna", ANNAS));
    let [effect] = <[Effect; 1]>::try_from(effects).unwrap();
    assert!(matches!(gate.answer(effect), Step::Answer(Err(code)) if code == "busy"));
    assert!(gate.login.sizes().iter().all(|size| size.held <= size.limit));
}
