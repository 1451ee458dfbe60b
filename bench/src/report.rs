//! The page: tables between the marks of `docs/benchmarks.md`, and charts beside it, made of what was kept.

use crate::chart::{Bars, Chart, Line};
use crate::measurement::Measurement;
use crate::micro::Group;
use crate::results::{self, Kept, Machine};
use crate::scenario::Scenario;
use crate::share::{self, Share};
use crate::store::{self, Pairs};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;

/// Scenarios in the order of the page.
const SCENARIOS: [&str; 8] =
    ["spread", "town", "crossing", "work", "share", "crowd", "limit", "transports"];
/// CPU seconds per million delivered that a room server takes which encodes once and broadcasts, at 500 in a room.
const ROOM_SERVER: f64 = 0.06;

/// Makes the tables and charts from the results in `bench`.
pub(crate) fn report(bench: &Path, docs: &Path) -> Result<()> {
    let page = docs.join("benchmarks.md");
    let mut text = std::fs::read_to_string(&page).with_context(|| format!("{}", page.display()))?;
    let charts = docs.join("benchmarks");
    std::fs::create_dir_all(&charts).with_context(|| format!("{}", charts.display()))?;
    let chart = |name: &str, svg: String| {
        let path = charts.join(format!("{name}.svg"));
        std::fs::write(&path, svg).with_context(|| format!("{}", path.display()))
    };
    let mut bars = Bars {
        title: "server CPU over that of a program which only reads and writes as much".into(),
        bars: Vec::new(),
        mark: (1.3, "aim"),
    };
    for name in SCENARIOS {
        let kept: Option<Kept<Vec<Measurement>>> = results::read(bench, name)?;
        let Some(Kept { machine, results }) = kept else {
            replace(&mut text, name, NOT_MEASURED)?;
            continue;
        };
        let scenario = Scenario::read(&bench.join("scenarios").join(format!("{name}.toml")))?;
        let table = match name {
            "share" => shares(&share::shares(&results)),
            _ => runs(&scenario, &results),
        };
        replace(&mut text, name, &(table + &on(&machine)))?;
        bars.bars.extend(results.iter().filter_map(|measured| {
            let label = format!("{name}: {}", measured.variant.short_label());
            measured.baseline.as_ref().map(|baseline| (label, baseline.ratio()))
        }));
        match name {
            "share" => chart(name, share_chart(&share::shares(&results)).to_svg())?,
            "crowd" => chart(name, crowd_chart(&results).to_svg())?,
            "limit" => chart(name, limit_chart(&results).to_svg())?,
            _ => {}
        }
    }
    if !bars.bars.is_empty() {
        chart("ratios", bars.to_svg())?;
    }
    let micro: Option<Kept<Vec<Group>>> = results::read(bench, "micro")?;
    let table = micro.map(|kept| groups(&kept.results) + &on(&kept.machine));
    replace(&mut text, "micro", table.as_deref().unwrap_or(NOT_MEASURED))?;
    let store: Option<Kept<Vec<Pairs>>> = results::read(bench, "store")?;
    let table = store.map(|kept| pairs(&kept.results) + &on(&kept.machine));
    replace(&mut text, "store", table.as_deref().unwrap_or(NOT_MEASURED))?;
    std::fs::write(&page, text).with_context(|| format!("{}", page.display()))
}

const NOT_MEASURED: &str = "No results are kept.\n";

/// Replaces what stands between `<!-- name -->` and `<!-- /name -->`.
fn replace(text: &mut String, name: &str, new: &str) -> Result<()> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let find = |mark: &str| text.find(mark).with_context(|| format!("the page lacks {mark:?}"));
    let range = find(&open)? + open.len()..find(&close)?;
    text.replace_range(range, new);
    Ok(())
}

fn on(machine: &Machine) -> String {
    let Machine { processor, cores, memory_gibibytes, kernel } = machine;
    format!("\n{cores} cores of {processor}, {memory_gibibytes} GiB, Linux {kernel}.\n")
}

/// A table of Markdown.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N));
    for row in rows {
        out += &format!("| {} |\n", row.join(" | "));
    }
    out
}

/// What players got, and what it took.
fn runs(scenario: &Scenario, results: &[Measurement]) -> String {
    let got = table(
        [
            "",
            "in sight",
            "received / expected",
            "staleness p50, p99 ms",
            "error p99 m",
            "missing of near",
            "acknowledged p99 ms",
            "bytes per neighbour-s",
        ],
        results.iter().map(|it| {
            let (updates, sight) = (&it.report.updates, &it.report.sight);
            let looked = sight.looks > 0;
            let acknowledged = it.report.commands.acked > 0;
            [
                it.variant.short_label(),
                format!("{:.1}", it.neighbours()),
                format!("{} / {}", updates.received, updates.expected),
                format!("{}, {}", updates.staleness_p50_ms, updates.staleness_p99_ms),
                format!("{:.2}", updates.position_error_p99_m),
                if looked { format!("{} of {}", sight.missing, sight.near) } else { "-".into() },
                if acknowledged { it.report.commands.p99_ms.to_string() } else { "-".into() },
                format!("{:.2}", it.bytes_per_neighbour_second()),
            ]
        }),
    );
    let took = table(
        [
            "",
            "cores",
            "of them kernel",
            "CPU us per neighbour-s",
            "CPU s per million updates",
            "CPU s per million writes",
            "times the bare one",
            "KiB per player (kernel)",
            "allocations per tick",
            "busiest lane ms per tick",
            "commits/s (per group)",
        ],
        results.iter().map(|it| {
            let cost = &it.cost;
            let bare = it.baseline.as_ref().map(|baseline| format!("{:.2}", baseline.ratio()));
            let per_group = it.store.committed / it.store.groups.max(1.0);
            [
                it.variant.short_label(),
                format!("{:.2}", it.cores()),
                format!("{:.0} %", cost.system_seconds / (it.cores() * cost.seconds) * 100.0),
                format!("{:.2}", it.cpu_us_per_neighbour_second()),
                format!("{:.2}", it.cpu_per_million_updates()),
                format!("{:.1}", it.cpu_per_million_writes()),
                bare.unwrap_or_else(|| "-".into()),
                format!(
                    "{:.1} ({:.1})",
                    it.kibibytes_per_player(),
                    it.kernel_kibibytes_per_player()
                ),
                format!("{:.0}", cost.allocations_per_tick),
                format!("{:.2}", cost.busiest_lane_ms_per_tick),
                format!("{:.0} ({per_group:.1})", it.store.committed / cost.seconds),
            ]
        }),
    );
    let mut out = format!("{got}\n{took}");
    for measured in results {
        for objection in measured.objections(&scenario.targets) {
            let label = measured.variant.short_label();
            let _ = writeln!(out, "\n**Not reached** ({label}): {objection}.");
        }
        if let Some(baseline) = &measured.baseline {
            let more = measured.recording().unwrap_or_default() * 100.0;
            let label = measured.variant.short_label();
            let _ = writeln!(
                out,
                "\n{label}: {:.3} cores with the game, {:.3} bare, both over what was recorded (recording made it {more:+.1} %; bare writes late by p99 {:.1} ms).",
                baseline.game_cpu, baseline.bare_cpu, baseline.late_p99_ms
            );
        }
    }
    out
}

fn shares(shares: &[Share]) -> String {
    let mut out = table(
        [
            "players",
            "CPU ms per tick, by lanes",
            "logic ms",
            "synchronisation ms per lane",
            "knee, lanes",
        ],
        shares.iter().map(|share| {
            let points = share.measured.iter().map(|(lanes, ms)| format!("{lanes}: {ms:.2}"));
            [
                share.players.to_string(),
                points.collect::<Vec<_>>().join(", "),
                format!("{:.2}", share.logic_ms),
                format!("{:.3}", share.synchronisation_ms),
                format!("{:.1}", share.knee()),
            ]
        }),
    );
    if let Some(spread) = share::spread(shares) {
        let _ = writeln!(out, "\nThe default of `spread` that follows: **{spread}**.");
    }
    out
}

pub(crate) fn groups(groups: &[Group]) -> String {
    let rows = groups.iter().flat_map(|group| {
        group.measured.iter().map(|line| {
            let (own, base) = (line.nanoseconds, group.baseline.nanoseconds);
            [
                format!("`{}`: {}", group.name, line.name),
                format!("{own:.1}"),
                format!("{base:.1} ({})", group.baseline.name),
                format!("{:.1}", own / base),
            ]
        })
    });
    table(["what", "ns", "baseline ns", "ratio"], rows)
}

pub(crate) fn pairs(all: &[Pairs]) -> String {
    let rows = all.iter().map(|pairs| {
        let of = |of: fn(&store::Round) -> f64| {
            let ((low, high), ratio) = (pairs.range(of), pairs.ratio(of));
            let side = |rounds: &[store::Round]| store::median(rounds.iter().map(of));
            let (own, bare) = (side(&pairs.store), side(&pairs.bare));
            format!("{own:.2} : {bare:.2} = **{ratio:.2}** ({low:.2}-{high:.2})")
        };
        [
            pairs.in_flight.to_string(),
            of(|round| round.commits_per_second),
            of(|round| round.commits_per_group),
            of(|round| round.cpu_us_per_commit),
            of(|round| round.p99_ms),
        ]
    });
    table(["in flight", "commits/s", "commits per group", "CPU us per commit", "p99 ms"], rows)
}

fn share_chart(shares: &[Share]) -> Chart {
    let mut lines: Vec<Line> = shares
        .iter()
        .map(|share| Line {
            name: format!("{} players", share.players),
            points: share.measured.clone(),
        })
        .collect();
    if let Some(share) = shares.last() {
        let over = |of: &dyn Fn(f64) -> f64| {
            share.measured.iter().map(|(lanes, _)| (*lanes, of(*lanes))).collect()
        };
        let (logic, synchronisation) = (share.logic_ms, share.synchronisation_ms);
        lines.push(Line { name: "logic of the last".into(), points: over(&|_| logic) });
        lines.push(Line {
            name: "synchronisation".into(),
            points: over(&|lanes| lanes * synchronisation),
        });
    }
    let title = "lanes share a chunk: logic against synchronisation".into();
    Chart { title, below: "lanes", left: "CPU ms per tick of the node", lines, mark: None }
}

fn crowd_chart(results: &[Measurement]) -> Chart {
    let of = |cost: fn(&Measurement) -> f64| {
        results.iter().map(|it| (it.variant.bots.count as f64, cost(it))).collect()
    };
    let lines =
        vec![Line { name: "Pelago".into(), points: of(Measurement::cpu_per_million_updates) }];
    Chart {
        title: "everybody in one chunk".into(),
        below: "players",
        left: "CPU seconds per million delivered updates",
        lines,
        mark: Some((ROOM_SERVER, "room server")),
    }
}

fn limit_chart(results: &[Measurement]) -> Chart {
    let of = |cost: fn(&Measurement) -> f64| {
        results.iter().map(|it| (it.variant.bots.count as f64, cost(it))).collect()
    };
    let lines = vec![
        Line { name: "p50".into(), points: of(|it| it.report.updates.staleness_p50_ms as f64) },
        Line { name: "p99".into(), points: of(|it| it.report.updates.staleness_p99_ms as f64) },
    ];
    Chart {
        title: "more and more people".into(),
        below: "players",
        left: "staleness in ms",
        lines,
        mark: Some((250.0, "to reach (p99)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_marks_is_replaced_and_nothing_else() {
        let mut page = "# A\n<!-- x -->\nold\n<!-- /x -->\nB\n".to_owned();
        replace(&mut page, "x", "new\n").expect("marks");
        assert_eq!(page, "# A\n<!-- x -->\nnew\n<!-- /x -->\nB\n");
        replace(&mut page, "x", "new\n").expect("marks");
        assert_eq!(page, "# A\n<!-- x -->\nnew\n<!-- /x -->\nB\n");
        assert!(replace(&mut page, "y", "").is_err());
    }

    #[test]
    fn the_page_of_the_repository_has_all_marks() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
        let mut text = std::fs::read_to_string(page).expect("the page");
        for name in SCENARIOS.iter().chain(&["micro", "store"]) {
            replace(&mut text, name, "").expect("marks");
        }
    }
}
