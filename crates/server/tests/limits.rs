//! `docs/limits.md` and the code name the same limits, keys and answers.
#![allow(clippy::unwrap_used, reason = "tests")]

use pelago_bots::abuse::{Abuse, Answer};
use pelago_model::Limit;
use pelago_node::lane::MAX_HELD_FRAMES;
use pelago_node::mailbox::{MAX_CALLS, MAX_FRAMES, MAX_FROM_SOCKETS};
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../docs/limits.md");

/// The rows below a heading, as cells.
fn rows(heading: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
}

fn names() -> impl Iterator<Item = Vec<&'static str>> {
    ["Clients", "Durable commands", "Chat", "Between nodes"].into_iter().flat_map(rows)
}

#[test]
fn every_limit_has_a_row_and_every_row_a_limit() {
    let described: Vec<&str> = names().map(|row| row[0].trim_matches('`')).collect();
    let named: BTreeSet<&str> = Limit::ALL.iter().map(|limit| limit.name()).collect();
    assert_eq!(described.iter().copied().collect::<BTreeSet<_>>(), named);
    assert_eq!(described.len(), named.len(), "a limit is described twice");
}

#[test]
fn mailboxes_have_the_room_that_the_page_says() {
    let room = |name: &str| {
        let row = rows("Mailboxes").find(|row| row[0] == format!("`{name}`")).unwrap();
        row[1].split(' ').next().unwrap().replace(',', "").parse::<usize>().unwrap()
    };
    let described = ["from_sockets", "frames", "calls", "held"].map(room);
    assert_eq!(described, [MAX_FROM_SOCKETS, MAX_FRAMES, MAX_CALLS, MAX_HELD_FRAMES]);
}

#[test]
fn every_abusive_guest_has_a_row_with_its_answer() {
    let mut described = rows("Abusive guests");
    for abuse in Abuse::ALL {
        let row = described.next().unwrap();
        assert_eq!(row[0], format!("`{abuse:?}`"));
        let answer = match abuse.answer() {
            Answer::Refused(code) => format!("refused `{code}`"),
            Answer::Closed(code) => format!("closed `{code}`"),
            Answer::Declined(code) => format!("declined `{code}`"),
            Answer::Served => "served".to_owned(),
            Answer::Cut => "cut".to_owned(),
        };
        assert_eq!(row[2], answer, "{abuse:?}");
    }
    assert!(described.next().is_none());
}
