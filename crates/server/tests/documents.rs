//! Real processes: operators read documents and repair them, while people play and after.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use pelago_model::EntityId;
use process::player::Player;
use process::{PELAGO, World};
use serde_json::Value;
use std::process::{Command, Output};

fn ctl(arguments: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(PELAGO);
    command.arg("ctl").args(arguments).env_remove("PELAGO_ADMIN_TOKEN");
    let Output { status, stdout, stderr } = command.output().unwrap();
    if status.success() {
        Ok(serde_json::from_slice(&stdout).unwrap())
    } else {
        Err(String::from_utf8(stderr).unwrap())
    }
}

#[tokio::test]
async fn a_document_is_edited_while_its_owner_plays_and_when_nobody_does() {
    let data = tempfile::tempdir().unwrap();
    let world = World::start(data.path());
    let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
    assert_eq!(anna.eat_nothing().await, "nothing_held");

    let avatar = EntityId(anna.session.welcome().avatar);
    let key = format!("avatar/{avatar}");
    let server = ["--server", &*world.operators, "--data", data.path().to_str().unwrap()];
    let before = ctl(&[&["get", &*key][..], &server].concat()).unwrap();
    let edit = ["edit", &*key, "--set", "/game/held/berry=1"];
    let edited = ctl(&[&edit[..], &server].concat()).unwrap();
    assert_eq!(edited["value"]["game"]["held"]["berry"], 1);
    assert_eq!(edited["schema"], before["schema"]);
    assert_eq!(edited["revision"].as_u64(), before["revision"].as_u64().map(|it| it + 1));
    // The stewards notice, and play goes on from there.
    assert_eq!(anna.eat_nothing().await, "");

    for (arguments, complaint) in [
        (&["edit", &*key, "--set", "/game/held/berry=9", "--revision", "1"][..], "409"),
        (&["edit", &*key, "--remove", "/game/wings"], "/game/wings"),
        (&["edit", &*key, "--set", "/game/held/berry=1.5"], "fractions"),
        (&["edit", &*key, "--set", "/game/held/berry=many"], "not JSON"),
        (&["edit", &*key], "--remove"),
        (&["get", "avatar/nobody"], "404"),
        (&["get", "Avatar"], "a key is"),
    ] {
        let refused = ctl(&[arguments, &server[..]].concat()).unwrap_err();
        assert!(refused.contains(complaint), "{arguments:?}: {refused}");
    }

    let after = ctl(&[&["get", &*key][..], &server].concat()).unwrap();
    let audit = format!("audit/{avatar}/{:020}", 1);
    let refused = ctl(&[&["edit", &*audit, "--set", "/at=0"][..], &server].concat()).unwrap_err();
    assert!(refused.contains("never changed"), "{refused}");
    drop(anna);
    world.signal("TERM");
    assert!(world.wait());

    let store = format!("embedded:{}", data.path().join("store").display());
    let revision = after["revision"].to_string();
    let edit = ["edit", &*key, "--remove", "/game/held", "--revision", &*revision];
    let edited = ctl(&[&edit[..], &["--store", &*store]].concat()).unwrap();
    assert_eq!(ctl(&["get", &*key, "--store", &store]).unwrap(), edited);
    assert_eq!(edited["value"]["game"].get("held"), None);
}
