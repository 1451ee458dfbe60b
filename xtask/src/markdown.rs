//! Markdown is wrapped at 120 columns: what is longer and could be broken is refused, and broken by `--fix`.
//!
//! Only prose is wrapped. Tables, headings, code and HTML stand as they are, and so does a line without a place to
//! break it. Paragraphs that fit are left as they were written.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Characters of a line.
const COLUMNS: usize = 120;

/// `cargo xtask markdown [--fix]`
pub(crate) fn markdown(arguments: &[String]) -> Result<()> {
    match arguments {
        [] => check(),
        [fix] if fix == "--fix" => fix_all(),
        _ => bail!("usage: cargo xtask markdown [--fix]"),
    }
}

/// Refuses lines that are too long.
pub(crate) fn check() -> Result<()> {
    let root = crate::run::root();
    let mut found = Vec::new();
    for file in files(&root)? {
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        let too_long = paragraphs(&read(&file)?).into_iter().filter(Paragraph::is_wrapped_badly);
        found.extend(too_long.map(|it| format!("{name}:{}: longer than {COLUMNS}", it.line)));
    }
    if !found.is_empty() {
        bail!("{}\ncargo xtask markdown --fix wraps them", found.join("\n"));
    }
    Ok(())
}

/// Wraps what is too long.
pub(crate) fn fix_all() -> Result<()> {
    for file in files(&crate::run::root())? {
        let text = read(&file)?;
        let wrapped = wrapped(&text);
        if wrapped != text {
            std::fs::write(&file, wrapped).with_context(|| format!("{}", file.display()))?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))
}

/// The pages at the root, and all in `docs`.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("docs")];
    let mut entries: Vec<PathBuf> = entries(root)?.into_iter().filter(|it| it.is_file()).collect();
    loop {
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
        let Some(folder) = folders.pop() else { break };
        entries = self::entries(&folder)?;
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// The text with all paragraphs wrapped that are too long.
fn wrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for paragraph in paragraphs(text) {
        let lines = if paragraph.is_too_long() { paragraph.wrap() } else { paragraph.lines };
        for line in lines {
            out += &line;
            out.push('\n');
        }
    }
    out
}

/// Lines that belong together: a paragraph or an item of a list. What is no prose is a paragraph of one line each.
struct Paragraph {
    /// The number of its first line, from 1.
    line: usize,
    lines: Vec<String>,
    /// What stands before the words of its first line and of the others; `None`: no prose.
    prefixes: Option<(String, String)>,
}

impl Paragraph {
    fn is_too_long(&self) -> bool {
        self.prefixes.is_some() && self.lines.iter().any(|line| width(line) > COLUMNS)
    }

    fn is_wrapped_badly(&self) -> bool {
        self.is_too_long() && self.wrap() != self.lines
    }

    fn wrap(&self) -> Vec<String> {
        let Some((first, others)) = &self.prefixes else { return self.lines.clone() };
        let text: Vec<&str> = self.lines.iter().map(|line| line.trim()).collect();
        let text = text.join(" ");
        let (mut lines, mut line) = (Vec::new(), first.clone());
        let mut is_empty = true;
        for word in words(text.strip_prefix(first.trim()).unwrap_or(&text)) {
            if !is_empty && width(&line) + 1 + width(&word) > COLUMNS {
                lines.push(std::mem::replace(&mut line, others.clone()));
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line += &word;
            is_empty = false;
        }
        lines.push(line);
        lines
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn paragraphs(text: &str) -> Vec<Paragraph> {
    let mut found: Vec<Paragraph> = Vec::new();
    let mut fence: Option<&str> = None;
    // Whether the last line is of prose that may go on.
    let mut is_open = false;
    for (line, number) in text.lines().zip(1..) {
        let trimmed = line.trim_start();
        let marks = ["```", "~~~"].into_iter().find(|marks| trimmed.starts_with(marks));
        let verbatim = match (fence, marks) {
            (Some(open), Some(marks)) if open == marks => {
                fence = None;
                true
            }
            (Some(_), _) => true,
            (None, Some(marks)) => {
                fence = Some(marks);
                true
            }
            (None, None) => is_verbatim(line, is_open),
        };
        let prefixes = (!verbatim).then(|| prefixes(line));
        let begins =
            verbatim || prefixes.as_ref().is_some_and(|(first, _)| !first.trim().is_empty());
        if !begins
            && is_open
            && let Some(last) = found.last_mut()
        {
            last.lines.push(line.to_owned());
        } else {
            found.push(Paragraph { line: number, lines: vec![line.to_owned()], prefixes });
        }
        // Two spaces or a backslash at the end are a break that somebody wants.
        is_open = !verbatim && !line.ends_with("  ") && !line.ends_with('\\');
    }
    found
}

/// Whether a line stands as it is; `is_open`: it may continue prose.
fn is_verbatim(line: &str, is_open: bool) -> bool {
    let trimmed = line.trim_start();
    let is_code = !is_open && line.starts_with("    ") && !is_item(trimmed);
    trimmed.is_empty() || trimmed.starts_with(['#', '|', '<']) || is_code
}

fn is_item(text: &str) -> bool {
    marker(text) > 0
}

/// The characters of the mark of an item or a quotation at the start of a line, with the space after it.
fn marker(text: &str) -> usize {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let rest = &text[digits..];
    if digits > 0 && (rest.starts_with(". ") || rest.starts_with(") ")) {
        return digits + 2;
    }
    let is_bullet = digits == 0 && ["- ", "* ", "+ ", "> "].iter().any(|it| text.starts_with(it));
    if is_bullet { 2 } else { 0 }
}

fn prefixes(line: &str) -> (String, String) {
    let trimmed = line.trim_start();
    let indent = " ".repeat(line.len() - trimmed.len());
    let mark = &trimmed[..marker(trimmed)];
    let below = if mark.starts_with('>') { mark.to_owned() } else { " ".repeat(mark.len()) };
    (format!("{indent}{mark}"), format!("{indent}{below}"))
}

/// What must not be torn apart: words, code between backticks, and a word with one that would mean something else at
/// the start of a line.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_within_code = false;
    for word in text.split_whitespace() {
        let starts_something =
            marker(&format!("{word} ")) > 0 || word.starts_with(['#', '|', '<', '>', '=', '~']);
        match words.last_mut() {
            Some(last) if is_within_code || starts_something => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
        is_within_code ^= word.matches('`').count() % 2 == 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many words of four letters.
    fn long(count: usize) -> String {
        vec!["word"; count].join(" ")
    }

    #[test]
    fn a_long_line_is_broken_between_words() {
        let text = wrapped(&format!("{}\n\nshort\nlines stay\n", long(30)));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], [&long(24)[..], &long(6)[..], ""]);
        assert_eq!(lines[3..], ["short", "lines stay"]);
    }

    #[test]
    fn items_are_indented_below_their_text() {
        let text = wrapped(&format!("- {}\n- b\n  1. {}\n", long(30), long(30)));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("  word") && lines[2] == "- b", "{text}");
        assert!(lines[3].starts_with("  1. word") && lines[4].starts_with("     word"), "{text}");
    }

    #[test]
    fn what_is_no_prose_stands_as_it_is() {
        let line = long(40);
        for text in [
            format!("| {line} |\n"),
            format!("# {line}\n"),
            format!("```\n{line}\n```\n"),
            format!("text\n\n    {line}\n"),
            format!("<!-- {line} -->\n"),
            format!("{}\n", "x".repeat(200)),
        ] {
            assert_eq!(wrapped(&text), text);
            assert!(!paragraphs(&text).iter().any(Paragraph::is_wrapped_badly), "{text}");
        }
    }

    #[test]
    fn code_and_what_would_begin_an_item_are_not_torn_off() {
        let text = wrapped(&format!("{} - {} `a b c d e f` {}\n", long(24), long(22), long(3)));
        assert!(text.lines().all(|line| !line.starts_with('-')), "{text}");
        assert!(text.contains("`a b c d e f`"), "{text}");
    }

    #[test]
    fn what_is_wrapped_is_not_wrapped_again() {
        let text = wrapped(&format!("> {0}\n\n* {0} 12. {0}\n{0}\n\n{0}", long(50)));
        assert_eq!(wrapped(&text), text);
        assert!(text.lines().all(|line| width(line) <= COLUMNS), "{text}");
        assert!(
            text.starts_with("> word")
                && text.lines().nth(1).expect("a line").starts_with("> word")
        );
    }
}
