//! The control messages are frozen: `proto/frozen.txt` lists every field that was ever there.

use super::json::is_blessed;
use std::collections::BTreeSet;
use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");

/// Every field and every value of an enum, one to a line: where, number, name, kind.
fn fields() -> BTreeSet<String> {
    let files = protox::compile(["client.proto", "peer.proto"], [FOLDER]).unwrap();
    let mut lines = BTreeSet::new();
    for file in &files.file {
        for message in &file.message_type {
            assert!(message.nested_type.is_empty() && message.enum_type.is_empty(), "not foreseen");
            for field in &message.field {
                let kind = match field.type_name() {
                    "" => field.r#type().as_str_name().trim_start_matches("TYPE_").to_lowercase(),
                    name => name.trim_start_matches('.').to_owned(),
                };
                let label = field.label().as_str_name().trim_start_matches("LABEL_").to_lowercase();
                // Leaving a oneof, or entering it, changes what absence means.
                let place = match field.oneof_index {
                    Some(at) => format!("oneof {}", message.oneof_decl[at as usize].name()),
                    None => label,
                };
                let (number, name) = (field.number(), field.name());
                lines.insert(format!(
                    "{}.{} {number} {name}: {place} {kind}",
                    file.package(),
                    message.name()
                ));
            }
        }
        for kind in &file.enum_type {
            for value in &kind.value {
                let (number, name) = (value.number(), value.name());
                lines.insert(format!("{}.{} {number} {name}: value", file.package(), kind.name()));
            }
        }
    }
    lines
}

#[test]
fn no_field_of_the_control_messages_is_removed_renumbered_or_retyped() {
    let path = Path::new(FOLDER).join("frozen.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let frozen: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let fields = fields();
    let lost: Vec<&String> = frozen.difference(&fields).collect();
    assert!(
        lost.is_empty(),
        "fields of the control messages are gone or were changed:\n{lost:#?}\nProtocol version 1 is frozen: other programs \
         rely on them. Leave the field as it was and add another with a new number (docs/protocol.md, section 9)."
    );
    let added: Vec<&String> = fields.difference(&frozen).collect();
    if added.is_empty() {
        return;
    }
    if is_blessed() {
        let lines: Vec<&str> = fields.iter().map(String::as_str).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    } else {
        eprintln!(
            "new fields, not yet frozen: {added:#?}\nWhen they are released, record them: PELAGO_BLESS=1 cargo test -p pelago-wire"
        );
    }
}
