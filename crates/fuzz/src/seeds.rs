//! What the targets begin with: the vectors of the protocol, documents as they are written, a little story of
//! a node, and the inputs that once found something (`regressions/TARGET/`).

mod documents;
mod story;

use anyhow::{Context, Result, ensure};
use pelago_wire::client_stream::is_frames;
use pelago_wire::message::Kind;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The seeds of a target.
///
/// # Errors
/// If a file is missing or is not what it should be.
pub fn seeds(target: &str) -> Result<Vec<Vec<u8>>> {
    let mut seeds = regressions(target)?;
    match target {
        "client" => {
            let records = vectors("records")?;
            for record in &records {
                seeds.push([&[2], &*unhex(&record["hex"])?].concat());
            }
            for vector in vectors("malformed")? {
                let selector: &[u8] = match vector["what"].as_str() {
                    Some("records") => &[2],
                    Some("frames") => &[4, 2],
                    Some("frame") => &[4, 64],
                    Some("snapshot") => &[5],
                    Some("close") => &[6],
                    _ => &[1],
                };
                seeds.push([selector, &*unhex(&vector["hex"])?].concat());
            }
            client_messages(&mut seeds)?;
            seeds.extend(documents::land().into_iter().map(|bytes| [&[7], &*bytes].concat()));
        }
        "peer" => {
            for message in messages("peer")? {
                let (kind, payload) = split(&message)?;
                // Selectors of the target are the kinds less one.
                seeds.push([&[kind - 1], payload].concat());
            }
            seeds.extend(story::peer_controls().into_iter().map(|bytes| [&[0], &*bytes].concat()));
        }
        "framing" => {
            let all = [messages("client")?, messages("peer")?].concat();
            for message in all.iter().chain([&all.concat()]) {
                for cuts in [[0; 8], [1, 1, 1, 1, 2, 3, 5, 8], [200; 8]] {
                    seeds.push([&[0, 4], &cuts[..], message].concat());
                }
            }
        }
        "document" => seeds.extend(documents::seeds()),
        "machine" => seeds.extend(story::seeds(&vectors("records")?)?),
        other => anyhow::bail!("no target {other:?}"),
    }
    Ok(seeds)
}

fn client_messages(seeds: &mut Vec<Vec<u8>>) -> Result<()> {
    let messages = messages("client")?;
    for message in &messages {
        let (kind, payload) = split(message)?;
        if is_frames(kind) {
            seeds.push([&[4, kind], payload].concat());
            continue;
        }
        let selectors: &[u8] = match Kind::from_number(kind).context("an unknown kind")? {
            // The message does not say who speaks.
            Kind::Control => &[0, 1],
            Kind::Snapshot => &[5],
            Kind::Close => &[6],
            Kind::Frames => &[],
        };
        seeds.extend(selectors.iter().map(|selector| [&[*selector], payload].concat()));
    }
    // Snapshots open what frames and closes are about.
    let opened: Vec<u8> = [&messages[1..], &messages[..1]].concat().concat();
    seeds.push([&[3], &*opened].concat());
    seeds.push([&[8], &*opened].concat());
    seeds.push([&[8], &*messages.concat()].concat());
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn regressions(target: &str) -> Result<Vec<Vec<u8>>> {
    let folder = root().join("regressions").join(target);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
    let mut files: Vec<PathBuf> = entries.collect::<Result<_>>()?;
    files.sort();
    files.into_iter().map(|file| Ok(std::fs::read(file)?)).collect()
}

/// The vectors of a file of `docs/vectors/`.
///
/// # Errors
/// If the file is missing or is not JSON.
pub fn vectors(name: &str) -> Result<Vec<Value>> {
    let file = root().join("../../docs/vectors").join(format!("{name}.json"));
    let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// The messages of one kind of link.
fn messages(link: &str) -> Result<Vec<Vec<u8>>> {
    let streams = vectors("streams")?;
    let of_link = streams.iter().filter(|stream| stream["link"] == link);
    of_link.map(|stream| unhex(&stream["message"])).collect()
}

/// Kind and payload of a message.
fn split(message: &[u8]) -> Result<(u8, &[u8])> {
    let header = message.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    ensure!(message.len() > header, "no message");
    Ok((message[header], &message[header + 1..]))
}

/// The bytes of hexadecimal digits.
///
/// # Errors
/// If it is no text of them.
pub fn unhex(value: &Value) -> Result<Vec<u8>> {
    let digits = value.as_str().context("no hexadecimal text")?.as_bytes();
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    digits.chunks(2).map(byte).collect()
}
