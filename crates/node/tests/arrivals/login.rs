//! Logins: names, tokens, epochs, serials, lanes.

use crate::gate::{ANNAS, Asked, ForLanes, Gate, LANES, OTHER, Releases, config};
use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::{Arrival, Game, json};
use pelago_model::{
    CommitOutcome, EntityId, Epoch, IslandTime, Key, Limit, NodeId, Position, Revision, Secret,
    Transaction, Write,
};
use pelago_node::arrivals::{LOGIN_TIME_MS, MAX_LOGINS, RELEASE_MS, SERIAL_LEASE};
use pelago_node::documents::avatar::{AvatarDocument, NameDocument, Place, PlaceDocument, read};
use pelago_node::documents::token::TokenHash;
use pelago_node::lane_call::released_answer;
use pelago_node::placement::company::Crowd;
use pelago_node::{ArrivalsInput, ClientEvent};
use pelago_world::ClientId;
use std::collections::BTreeSet;

fn name(gate: &Gate, name: &str) -> (Revision, NameDocument) {
    let found = gate.store.get(&Key::name(name));
    (found.revision, NameDocument::read(&found).unwrap().unwrap())
}

fn write_name(gate: &Gate, name: &str, schema: u16, value: &str) {
    let key = Key::name(name);
    let expected = gate.store.get(&key).revision;
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    let writes = vec![Write { key, expected, schema, value }];
    let outcome = gate.store.apply(Transaction { checks: Vec::new(), writes });
    assert_eq!(outcome, CommitOutcome::Committed);
}

/// Another node with the same store, which has leased no serials yet.
fn restart(gate: &mut Gate) {
    gate.arrivals = pelago_node::Arrivals::new(config());
}

/// Every document of an avatar that logs in, as a newer build has written it.
#[test]
fn a_document_of_a_newer_build_keeps_its_avatar_out_and_stays_as_it_is() {
    for kind in ["name", "avatar", "place", "ids"] {
        let mut gate = Gate::new(config());
        let anna = gate.hello("Anna", ANNAS).unwrap();
        let (name, key) = match kind {
            "name" => ("Anna", Key::name("Anna")),
            "avatar" => ("Anna", Key::avatar(anna)),
            "place" => ("Anna", Key::place(anna)),
            // An avatar that is new needs a serial.
            _ => ("Bert", Key::serials()),
        };
        let found = gate.store.get(&key);
        let schema = found.schema + 1;
        let writes = vec![Write { key, expected: found.revision, schema, value: found.value }];
        gate.store.apply(Transaction { checks: Vec::new(), writes });
        let before = gate.store.snapshot();
        restart(&mut gate);
        assert_eq!(gate.hello(name, ANNAS), Err("unavailable".into()), "{kind}");
        assert_eq!(gate.store.snapshot(), before, "{kind}");
        let text = gate.log.pop().unwrap();
        let expected = format!("{kind} documents are read up to schema {}", schema - 1);
        assert!(text.contains(&expected) && text.contains(&format!("has {schema}")), "{text}");
    }
}

#[test]
fn the_first_login_binds_a_name_and_others_are_refused() {
    let mut gate = Gate::new(config());
    let anna = gate.hello("Anna", ANNAS).unwrap();
    assert_eq!(gate.hello("Anna", OTHER), Err("token".into()));
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
    // The same token under another name is another avatar.
    assert_ne!(gate.hello("Bert", ANNAS).unwrap(), anna);
    // Binding is written once.
    assert_eq!(name(&gate, "Anna").0, Revision(1));
}

#[test]
fn a_name_or_a_token_that_cannot_be_one_is_refused_before_anything_is_read() {
    let mut gate = Gate::new(config());
    let long = "a".repeat(49);
    let cases: [(&str, &[u8], &str); 7] = [
        ("Anna", b"", "token"),
        ("Anna", &[1; 15], "token"),
        ("Anna", &[1; 65], "token"),
        ("", ANNAS, "name"),
        (" ", ANNAS, "name"),
        ("An\nna", ANNAS, "name"),
        (&long, ANNAS, "name"),
    ];
    for (name, token, code) in cases {
        let client = gate.client();
        gate.say_hello(client, name, token);
        assert!(gate.asked.is_empty(), "{name}");
        assert_eq!(gate.refusal(client), Some(code), "{name}");
    }
    assert!(gate.hello("Anna", &[1; 16]).is_ok());
    assert!(gate.hello("Bert", &[1; 64]).is_ok());
    assert!(gate.hello(&long[1..], ANNAS).is_ok());
}

#[test]
fn a_name_of_an_older_world_is_bound_by_its_next_login() {
    let mut gate = Gate::new(config());
    let anna = gate.hello("Anna", OTHER).unwrap();
    // As the first schema wrote it.
    write_name(&gate, "Anna", 1, &format!(r#"{{"avatar":"{anna}"}}"#));
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
    assert!(name(&gate, "Anna").1.token.is_some());
    assert_eq!(gate.hello("Anna", OTHER), Err("token".into()));
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
}

#[test]
fn a_name_that_lost_its_token_opens_to_nobody() {
    let mut gate = Gate::new(config());
    let anna = gate.hello("Anna", ANNAS).unwrap();
    write_name(&gate, "Anna", 2, &format!(r#"{{"avatar":"{anna}"}}"#));
    assert_eq!(gate.hello("Anna", ANNAS), Err("unavailable".into()));
}

#[test]
fn of_two_who_bind_a_name_at_once_one_wins() {
    let mut gate = Gate::new(config());
    let anna = gate.hello("Anna", OTHER).unwrap();
    write_name(&gate, "Anna", 1, &format!(r#"{{"avatar":"{anna}"}}"#));
    // The first is about to commit when the second, on another node, takes the name.
    let first = gate.client();
    gate.say_hello(first, "Anna", OTHER);
    assert!(gate.answer_one() && gate.answer_one());
    assert!(matches!(gate.asked.front(), Some(Asked::Commit(..))));
    let mut other = Gate::new(config());
    std::mem::swap(&mut gate.store, &mut other.store);
    assert_eq!(other.hello("Anna", ANNAS), Ok(anna));
    std::mem::swap(&mut gate.store, &mut other.store);
    gate.settle();
    assert_eq!(gate.answer(first), Some(Err("token".into())));
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
}

#[test]
fn the_place_of_a_session_is_that_of_the_last_one_whatever_times_were_told_before_it() {
    let mut gate = Gate::new(config());
    // The clock of the host was a day ahead when Anna came first and did something.
    let now = std::mem::replace(&mut gate.now, 86_400_000);
    let anna = gate.hello("Anna", ANNAS).unwrap();
    let avatar = |gate: &Gate| -> AvatarDocument {
        read(&gate.store.get(&Key::avatar(anna))).unwrap().unwrap()
    };
    let old = avatar(&gate).place;
    assert_eq!(old.at.0, 86_400_000);
    // The next session is told the time as it is.
    gate.now = now;
    restart(&mut gate);
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
    assert_eq!(avatar(&gate).place, Place { at: IslandTime(now), ..old });
    // It goes elsewhere, and its lane keeps that.
    let found = gate.store.get(&Key::place(anna));
    let mut kept: PlaceDocument = read(&found).unwrap().unwrap();
    kept.place.position.x += 640;
    kept.place.at = IslandTime(now + 1000);
    let (key, value) = (Key::place(anna), Some(json::encode(&kept).unwrap()));
    let write = Write { key, expected: found.revision, schema: found.schema, value };
    gate.store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
    gate.now += 2000;
    restart(&mut gate);
    assert_eq!(gate.hello("Anna", ANNAS), Ok(anna));
    assert_eq!(avatar(&gate).place.position, kept.place.position, "an old place");
}

#[test]
fn every_session_has_the_next_epoch_and_the_one_before_hears_of_it_first() {
    let mut gate = Gate::new(config());
    let anna = gate.hello("Anna", ANNAS).unwrap();
    gate.hello("Anna", ANNAS).unwrap();
    let [_, _, release, superseded, placed] = &gate.for_lanes[..] else {
        panic!("{:?}", gate.for_lanes)
    };
    assert_eq!(*release, ForLanes::Release(NodeId(1), anna, Epoch(1)));
    assert_eq!(*superseded, ForLanes::Superseded(anna, Epoch(2)));
    assert!(
        matches!(placed, ForLanes::Placed(_, _, avatar, Epoch(2)) if *avatar == anna),
        "{placed:?}"
    );
    // Also in the documents, so that what the session before still writes fails.
    let avatar: AvatarDocument = read(&gate.store.get(&Key::avatar(anna))).unwrap().unwrap();
    let place: PlaceDocument = read(&gate.store.get(&Key::place(anna))).unwrap().unwrap();
    assert_eq!((avatar.epoch, place.epoch), (Epoch(2), Epoch(2)));
}

/// A place that no store has.
fn elsewhere() -> Place {
    Place { island: config().home, position: Position::new(4321, 1234), at: IslandTime(999) }
}

/// Anna has been here, and comes again; her node does not answer yet.
fn second_login() -> (Gate, EntityId, ClientId) {
    let mut gate = Gate::new(config());
    let anna = gate.hello("Anna", ANNAS).unwrap();
    gate.releases = Releases::Waiting;
    let client = gate.client();
    gate.say_hello(client, "Anna", ANNAS);
    gate.settle();
    assert_eq!((gate.answer(client), gate.waiting.len()), (None, 1));
    (gate, anna, client)
}

fn release(gate: &mut Gate, place: Option<Place>) {
    let (number, result) = (gate.waiting.remove(0), Ok(released_answer(place)));
    gate.tell(ArrivalsInput::Answered { number, result });
}

fn stored_place(gate: &Gate, avatar: EntityId) -> Position {
    let place: PlaceDocument = read(&gate.store.get(&Key::place(avatar))).unwrap().unwrap();
    place.place.position
}

#[test]
fn a_session_goes_on_where_the_one_before_was_let_go_of() {
    let (mut gate, anna, client) = second_login();
    release(&mut gate, Some(elsewhere()));
    gate.settle();
    assert_eq!(gate.answer(client), Some(Ok(anna)));
    assert_eq!(gate.places[&client].position, elsewhere().position);
    // With the epoch, so that it is not lost if the node is.
    assert_eq!(stored_place(&gate, anna), elsewhere().position);
    assert_eq!(gate.held("logins that wait for a release"), 0);
}

#[test]
fn a_place_that_was_told_is_kept_when_the_epoch_was_not_taken_at_once() {
    let (mut gate, anna, client) = second_login();
    release(&mut gate, Some(elsewhere()));
    // The session that let go has written its place, or its last command was committed.
    gate.end_commit(CommitOutcome::Conflict { keys: vec![Key::avatar(anna)] });
    gate.settle();
    release(&mut gate, None);
    gate.settle();
    assert_eq!(gate.places[&client].position, elsewhere().position);
}

#[test]
fn a_node_that_does_not_answer_is_waited_for_for_a_while() {
    let (mut gate, anna, client) = second_login();
    let before = stored_place(&gate, anna);
    gate.pass(RELEASE_MS - 1);
    gate.settle();
    assert_eq!(gate.answer(client), None);
    gate.pass(1);
    gate.settle();
    assert_eq!(gate.answer(client), Some(Ok(anna)));
    assert_eq!(gate.places[&client].position, before);
    // What comes too late changes nothing.
    release(&mut gate, Some(elsewhere()));
    gate.settle();
    assert_eq!(stored_place(&gate, anna), before);
}

#[test]
fn a_client_that_goes_while_its_avatar_is_let_go_of_brings_it_nowhere_else() {
    let (mut gate, anna, client) = second_login();
    gate.happens(client, ClientEvent::Disconnected);
    release(&mut gate, Some(elsewhere()));
    gate.settle();
    assert_eq!(stored_place(&gate, anna), elsewhere().position);
    assert_eq!((gate.answer(client), gate.held("logins")), (None, 0));
    gate.releases = Releases::At(None);
    gate.hello("Anna", ANNAS).unwrap();
    assert_eq!(gate.places.last_key_value().unwrap().1.position, elsewhere().position);
}

#[test]
fn newcomers_appear_where_people_are_and_others_where_they_were() {
    let mut gate = Gate::new(config());
    gate.hello("Anna", ANNAS).unwrap();
    let alone = gate.places.last_key_value().unwrap().1.position;
    let land = config().lands[&config().home].clone();
    let somebody = Frontier.spawn(&land, Arrival::Anywhere, 3);
    assert!(somebody.distance_squared(alone) > 2000 * 2000, "the test wants them far apart");
    gate.crowds = vec![Crowd { island: config().home, somebody, people: 9 }];
    gate.pass(60_000);
    gate.hello("Bert", OTHER).unwrap();
    let beside = gate.places.last_key_value().unwrap().1.position;
    assert!(beside.distance_squared(somebody) <= 2 * 512 * 512, "{beside:?}");
    gate.hello("Anna", ANNAS).unwrap();
    assert_eq!(gate.places.last_key_value().unwrap().1.position, alone);
}

#[test]
fn texts_that_look_like_a_name_are_that_name_or_refused() {
    let mut gate = Gate::new(config());
    let anna = gate.hello("Anna", ANNAS).unwrap();
    for same in ["Anna ", " Anna", "\u{ff21}nna", "Anna\u{a0}"] {
        assert_eq!(gate.hello(same, ANNAS), Ok(anna), "{same:?}");
        assert_eq!(gate.hello(same, OTHER), Err("token".into()), "{same:?}");
    }
    let asa = gate.hello("\u{c5}sa", ANNAS).unwrap();
    assert_eq!(gate.hello("A\u{30a}sa", ANNAS), Ok(asa));
    let before = gate.store.snapshot();
    let others = [
        "Anna\u{200b}",
        "An\u{200d}na",
        "Anna\u{200e}",
        "\u{202e}annA",
        "\u{410}nna",
        "\u{3164}",
        "\u{200b}\u{200b}",
        "Anna\u{ad}",
        "Anna\u{1f600}",
        "Anna\n",
    ];
    for other in others {
        for token in [ANNAS, OTHER] {
            assert_eq!(gate.hello(other, token), Err("name".into()), "{other:?}");
        }
    }
    assert_eq!(gate.store.snapshot(), before);
}

#[test]
fn names_that_look_alike_are_taken_together() {
    let mut gate = Gate::new(config());
    gate.hello("apa", ANNAS).unwrap();
    // All of it is Cyrillic.
    assert_eq!(gate.hello("\u{430}\u{440}\u{430}", OTHER), Err("name".into()));
    assert!(gate.log.last().unwrap().contains("looks like"), "{:?}", gate.log);
    gate.hello("Annal", ANNAS).unwrap();
    assert_eq!(gate.hello("Anna1", OTHER), Err("name".into()));
    assert!(gate.hello("Anna2", OTHER).is_ok());
}

#[test]
fn of_two_who_take_names_that_look_alike_at_once_one_wins() {
    let mut gate = Gate::new(config());
    // So that both have serials.
    gate.hello("Zoe", ANNAS).unwrap();
    let first = gate.client();
    gate.say_hello(first, "apa", ANNAS);
    assert!(gate.answer_one());
    assert!(matches!(gate.asked.front(), Some(Asked::Commit(..))));
    let second = gate.client();
    gate.say_hello(second, "\u{430}\u{440}\u{430}", OTHER);
    // The second one's look at its name is answered before the first one's commit.
    gate.asked.rotate_left(1);
    assert!(gate.answer_one());
    gate.settle();
    let answers = [gate.answer(first).unwrap(), gate.answer(second).unwrap()];
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
}

/// A name as builds took it that had no rule for names.
fn old_name(gate: &mut Gate, name: &str, token: &'static [u8]) -> EntityId {
    let avatar = gate.hello("Stand-in", token).unwrap();
    let hash = TokenHash::of(name, &Secret::new(token)).unwrap();
    let document = NameDocument { avatar, token: Some(hash) };
    let value = pelago_game::json::encode(&document).unwrap();
    write_name(gate, name, 2, std::str::from_utf8(&value).unwrap());
    avatar
}

#[test]
fn names_that_are_older_than_the_rule_stay_as_they_are_written() {
    for name in ["Anna ", "Anna\u{200b}", "\u{410}nna", "Anna"] {
        let mut gate = Gate::new(config());
        let old = old_name(&mut gate, name, ANNAS);
        assert_eq!(gate.hello(name, ANNAS), Ok(old), "{name:?}");
        assert_eq!(gate.hello(name, OTHER), Err("token".into()), "{name:?}");
        if name != "Anna" {
            assert_ne!(gate.hello("Anna", ANNAS), Ok(old), "{name:?}");
        }
    }
    // The login of an old name reserves it.
    let mut gate = Gate::new(config());
    let old = old_name(&mut gate, "apa", ANNAS);
    assert_eq!(gate.hello("apa", ANNAS), Ok(old));
    assert_eq!(gate.hello("\u{430}\u{440}\u{430}", OTHER), Err("name".into()));
}

#[test]
fn an_epoch_that_was_perhaps_taken_is_followed_by_the_next() {
    let mut gate = Gate::new(config());
    let anna = gate.hello("Anna", ANNAS).unwrap();
    let client = gate.client();
    gate.say_hello(client, "Anna", ANNAS);
    assert!(gate.answer_one() && gate.answer_one());
    let Some(Asked::Commit(request, transaction)) = gate.asked.pop_front() else {
        panic!("no commit")
    };
    // It is committed, and nobody knows.
    assert_eq!(gate.store.apply(transaction), CommitOutcome::Committed);
    gate.asked.push_front(Asked::Commit(request, Transaction::default()));
    gate.end_commit(CommitOutcome::Unknown);
    gate.settle();
    assert!(
        matches!(gate.for_lanes.last(), Some(ForLanes::Placed(_, _, avatar, Epoch(3))) if *avatar == anna),
        "{:?}",
        gate.for_lanes
    );
}

#[test]
fn a_login_that_meets_conflicts_again_and_again_ends() {
    let mut gate = Gate::new(config());
    gate.hello("Anna", ANNAS).unwrap();
    let client = gate.client();
    gate.say_hello(client, "Anna", ANNAS);
    let conflict = CommitOutcome::Conflict { keys: vec![Key::name("Anna")] };
    let commits = gate.refuse_commits(LOGIN_TIME_MS, &conflict);
    assert_eq!((commits.len(), gate.refusal(client)), (12, Some("unavailable")));
    assert!(commits.is_sorted_by(|one, next| one < next), "there is a pause: {commits:?}");
    assert_eq!((gate.met(Limit::LoginAttempts), gate.held("logins")), (1, 0));
}

#[test]
fn newcomers_share_leases_of_serials() {
    let mut gate = Gate::new(config());
    let count = SERIAL_LEASE + 44;
    let clients: Vec<_> = (0..count).map(|_| gate.client()).collect();
    for client in &clients {
        gate.say_hello(*client, &format!("guest {}", client.0), ANNAS);
    }
    let mut leases = 0;
    while let Some(asked) = gate.asked.front() {
        let is_lease = |write: &Write| write.key == Key::serials();
        leases +=
            usize::from(matches!(asked, Asked::Commit(_, it) if it.writes.iter().any(is_lease)));
        gate.answer_one();
    }
    let avatars: BTreeSet<_> =
        clients.iter().map(|client| gate.answer(*client).unwrap().unwrap()).collect();
    assert_eq!((avatars.len() as u64, leases), (count, 2));
    let serials: Vec<u64> = avatars.iter().map(|avatar| avatar.serial()).collect();
    assert_eq!(serials, (1..=count).collect::<Vec<_>>());
}

#[test]
fn serials_of_a_lease_that_is_not_certain_are_never_used() {
    let mut gate = Gate::new(config());
    let client = gate.client();
    gate.say_hello(client, "Anna", ANNAS);
    assert!(gate.answer_one() && gate.answer_one());
    let Some(Asked::Commit(request, transaction)) = gate.asked.pop_front() else {
        panic!("no commit")
    };
    assert_eq!(gate.store.apply(transaction), CommitOutcome::Committed);
    gate.asked.push_front(Asked::Commit(request, Transaction::default()));
    gate.end_commit(CommitOutcome::Unknown);
    gate.settle();
    assert_eq!(gate.answer(client).unwrap().unwrap().serial(), 1 + SERIAL_LEASE);
}

/// The most commits within a second.
fn most_in_a_second(commits: &[i64]) -> usize {
    let within =
        |first: i64| commits.iter().filter(|at| (first..first + 1000).contains(*at)).count();
    commits.iter().map(|first| within(*first)).max().unwrap_or(0)
}

#[test]
fn newcomers_cost_a_store_that_takes_nothing_a_few_commits_a_second_and_are_refused_in_the_end() {
    for outcome in [CommitOutcome::Failed, CommitOutcome::Unknown] {
        for newcomers in [1, 300] {
            let mut gate = Gate::new(config());
            // Serials are there: each newcomer asks for a commit of its own.
            gate.hello("Anna", ANNAS).unwrap();
            let clients: Vec<_> = (0..newcomers).map(|_| gate.client()).collect();
            clients.iter().for_each(|client| gate.say_hello(*client, &client.0.to_string(), ANNAS));
            let commits = gate.refuse_commits(LOGIN_TIME_MS + 1, &outcome);
            for client in clients {
                assert_eq!(gate.refusal(client), Some("unavailable"));
            }
            assert_eq!((gate.held("logins"), gate.held("times of logins")), (0, 0));
            // Those of the first moment are under way before it is known; nobody knows how an unknown one ended.
            let first = commits.iter().filter(|at| **at == commits[0]).count();
            let later = most_in_a_second(&commits[first..]);
            let bound = if outcome == CommitOutcome::Failed { 4 } else { 8 * newcomers };
            assert!(first <= newcomers && later <= bound, "{outcome:?}: {first}, {later}");
            assert!(gate.hello("Bert", ANNAS).is_ok(), "it recovers");
        }
    }
}

#[test]
fn a_store_that_leases_no_serials_is_asked_seldom_and_keeps_nobody_waiting() {
    let mut gate = Gate::new(config());
    let clients = [gate.client(), gate.client()];
    clients.iter().for_each(|client| gate.say_hello(*client, &client.0.to_string(), ANNAS));
    let commits = gate.refuse_commits(LOGIN_TIME_MS + 1, &CommitOutcome::Failed);
    assert!(most_in_a_second(&commits) <= 4, "{commits:?}");
    assert_eq!(clients.map(|client| gate.refusal(client)), [Some("unavailable"); 2]);
    assert_eq!((gate.held("logins"), gate.held("logins that wait for a serial")), (0, 0));
    // It recovers.
    assert!(gate.hello("Anna", ANNAS).is_ok());
}

#[test]
fn those_who_pause_are_let_in_once_the_store_takes_commits_again() {
    let mut gate = Gate::new(config());
    gate.hello("Anna", ANNAS).unwrap();
    let clients: Vec<_> = (0..100).map(|_| gate.client()).collect();
    clients.iter().for_each(|client| gate.say_hello(*client, &client.0.to_string(), ANNAS));
    gate.refuse_commits(3000, &CommitOutcome::Failed);
    gate.settle();
    for client in clients {
        assert!(gate.answer(client).unwrap().is_ok());
    }
}

#[test]
fn a_login_whose_store_never_answers_is_refused_when_its_time_is_over() {
    let mut gate = Gate::new(config());
    let client = gate.client();
    gate.say_hello(client, "Anna", ANNAS);
    gate.pass(LOGIN_TIME_MS - 1);
    assert_eq!(gate.refusal(client), None);
    gate.pass(1);
    assert_eq!((gate.refusal(client), gate.met(Limit::LoginTime)), (Some("unavailable"), 1));
    // The late answer ends what is left of it.
    gate.settle();
    assert_eq!((gate.held("logins"), gate.held("requests of logins")), (0, 0));
}

#[test]
fn those_who_arrive_in_a_chunk_take_turns_on_its_lanes() {
    let mut gate = Gate::new(config());
    // Anna arrives where she was.
    for _ in 0..6 {
        gate.hello("Anna", ANNAS).unwrap();
    }
    let lanes: Vec<u8> = gate
        .for_lanes
        .iter()
        .filter_map(|told| match told {
            ForLanes::Placed(lane, ..) => Some(*lane),
            _ => None,
        })
        .collect();
    let (one, other) = (lanes[0], lanes[1]);
    assert_eq!(lanes, [one, other, one, other, one, other]);
    assert!(one != other && one.max(other) < LANES);
}

#[test]
fn those_who_went_while_the_store_was_slow_still_count() {
    let mut gate = Gate::new(config());
    for _ in 0..MAX_LOGINS {
        let client = gate.client();
        gate.say_hello(client, "Anna", ANNAS);
        gate.happens(client, ClientEvent::Disconnected);
    }
    assert_eq!(gate.asked.len(), MAX_LOGINS);
    let late = gate.client();
    gate.say_hello(late, "Anna", ANNAS);
    assert_eq!(gate.refusal(late), Some("busy"));
    gate.settle();
    assert_eq!((gate.held("logins"), gate.held("requests of logins")), (0, 0));
    assert!(gate.for_lanes.is_empty());
    assert!(gate.hello("Anna", ANNAS).is_ok());
}

#[test]
fn those_who_wait_for_a_serial_and_those_who_went_are_not_more_than_logins_may_be() {
    let mut gate = Gate::new(config());
    for number in 0..MAX_LOGINS / 2 {
        let client = gate.client();
        gate.say_hello(client, &number.to_string(), ANNAS);
        // Its name is looked up. The lease of serials, asked for by the first, waits.
        let lease = (number > 0).then(|| gate.asked.pop_front().unwrap());
        gate.answer_one();
        gate.asked.extend(lease);
    }
    assert_eq!(gate.held("logins that wait for a serial"), MAX_LOGINS / 2);
    for _ in 0..MAX_LOGINS {
        let client = gate.client();
        gate.say_hello(client, "Anna", ANNAS);
        gate.happens(client, ClientEvent::Disconnected);
    }
    assert_eq!(gate.held("logins"), MAX_LOGINS);
    // All serials are given at once, and each leads to a commit.
    let lease = gate
        .asked
        .iter()
        .position(|asked| matches!(asked, Asked::Load(_, keys) if keys.contains(&Key::serials())));
    let lease = gate.asked.remove(lease.unwrap()).unwrap();
    gate.asked.push_front(lease);
    while gate.answer_one() {
        let sizes = gate.arrivals.sizes();
        assert!(sizes.iter().all(|size| size.held <= size.limit), "{sizes:?}");
    }
}
