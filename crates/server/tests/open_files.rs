//! More connections than the process may have files: they are turned away, and the store goes on.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use process::World;
use process::player::Player;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Files that the process may open.
const FILES: u32 = 400;

/// The value of a metric, summed over the nodes.
async fn metric(world: &World, name: &str, label: &str) -> f64 {
    let (host, token) = (world.operators_host(), &world.token);
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn connections_leave_files_to_the_store_the_links_and_the_metrics() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (data, journal) = (directory.path().join("data"), elsewhere.path().join("journal"));
    let world = World::start_with_files(&data, FILES);
    let mut bots = world.bots(20, 6, &journal);
    // Every second one ends again at once, the others stay as long as they are let.
    let mut crowd = Vec::new();
    for number in 0..2 * FILES as usize {
        let stream = TcpStream::connect(&world.tcp[number % 3]).await.unwrap();
        if number % 2 == 0 {
            crowd.push(stream);
        }
    }
    let mut turned_away = 0;
    for stream in &mut crowd {
        let end = timeout(Duration::from_millis(20), stream.read_u8()).await;
        turned_away += usize::from(end.is_ok());
    }
    assert!(turned_away > 50, "{turned_away}");
    let descriptors = format!("/proc/{}/fd", world.process.id());
    let open = std::fs::read_dir(descriptors).unwrap().count();
    assert!(open + 30 < FILES as usize, "{open} files are open");
    assert!(metric(&world, "pelago_limits_total", "open_files").await > 50.0);

    // Those who were there go on: what they do is durable.
    assert!(bots.wait().unwrap().success());
    drop(crowd);
    drop(Player::arrive(&world.tcp[0], "Anna").await);
    assert!(world.verify(&journal) > 5);
}
