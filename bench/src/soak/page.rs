//! The section about the soak in `docs/reliability.md`.

use super::Soak;
use super::verdict::Averages;
use anyhow::{Context, Result};
use std::fmt::{self, Write};
use std::path::Path;

/// What the section is between.
const BEGIN: &str = "<!-- soak: written by `cargo xtask bench soak` -->";
const END: &str = "<!-- /soak -->";

/// Puts the section into the page, in the place of the one before it.
pub(super) fn write(page: &Path, soak: &Soak) -> Result<()> {
    let old = if page.exists() {
        std::fs::read_to_string(page).with_context(|| format!("{}", page.display()))?
    } else {
        "# Reliability\n".to_owned()
    };
    std::fs::write(page, replaced(&old, &section(soak)?))
        .with_context(|| format!("{}", page.display()))
}

fn replaced(old: &str, section: &str) -> String {
    let section = format!("{BEGIN}\n{section}{END}");
    match (old.find(BEGIN), old.find(END)) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}{section}{}", &old[..begin], &old[end + END.len()..])
        }
        _ => format!("{}\n\n{section}\n", old.trim_end()),
    }
}

/// The section itself.
pub(super) fn section(soak: &Soak) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let watched = soak.samples.last().map_or(0.0, |sample| sample.seconds / 60.0);
    let interrupted = if soak.finished { "" } else { ", interrupted" };
    writeln!(
        out,
        "## Soak\n\n`cargo xtask bench soak --minutes {} --count {}`: {watched:.0} minutes of `spread`{interrupted}. Every bot's session ends after \
         exponential times of mean 5 minutes, by vanishing without a goodbye or by taking over from itself on another node; 100 readers stop reading for 10 to \
         45 s and resume; two abusive guests of each kind of [limits.md](limits.md) come again and again.\n",
        soak.minutes, soak.count
    )?;
    let Some(verdict) = &soak.verdict else {
        out.push_str("Too short for a verdict.\n");
        return Ok(out);
    };
    let (early, late) = (&verdict.early, &verdict.late);
    let head = |it: &Averages| format!("minutes {:.0} to {:.0}", it.from_minute, it.to_minute);
    writeln!(out, "| | {} | {} |\n| --- | --- | --- |", head(early), head(late))?;
    let mut row = |what: &str, of: &dyn Fn(&Averages) -> String| {
        writeln!(out, "| {what} | {} | {} |", of(early), of(late))
    };
    row("resident memory", &|it| format!("{:.1} MiB", it.resident_bytes / 1_048_576.0))?;
    row("server CPU", &|it| format!("{:.2} cores", it.cores))?;
    row("staleness p50", &|it| format!("{:.0} ms", it.staleness_p50_ms))?;
    row("staleness p99", &|it| format!("{:.0} ms", it.staleness_p99_ms))?;
    row("playing", &|it| format!("{:.0}", it.playing))?;
    if let Some(last) = soak.samples.last() {
        let gap = soak.samples.iter().map(|sample| sample.bots.longest_gap_ms).max().unwrap_or(0);
        writeln!(
            out,
            "\n{} sessions vanished, {} were taken over, {} were cut off, {} were not let in; the longest silence of a bot's node was {gap} ms.",
            last.bots.vanished, last.bots.taken_over, last.bots.cut_off, last.bots.refused
        )?;
    }
    let limits = soak.limits.iter().map(|(name, count)| format!("`{name}` {count}"));
    writeln!(out, "Limits met: {}.\n", limits.collect::<Vec<_>>().join(", "))?;
    if verdict.objections.is_empty() {
        out.push_str("Verdict: it held (memory within 1.10 times, staleness p99 within 1.20 times and 250 ms, nobody cut off).\n");
    } else {
        writeln!(out, "Verdict: it did not hold: {}.", verdict.objections.join("; "))?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_the_one_before_it() {
        let first = replaced("# Reliability\n\nText.\n", "one\n");
        assert_eq!(first, format!("# Reliability\n\nText.\n\n{BEGIN}\none\n{END}\n"));
        let with_more = format!("{first}\nMore.\n");
        let second = replaced(&with_more, "two\n");
        assert_eq!(second, with_more.replace("one", "two"));
    }
}
