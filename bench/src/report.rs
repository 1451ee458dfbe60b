//! The page: tables between the marks of `docs/benchmarks.md`, and charts beside it, made of what was kept.

use crate::chart::{Bars, Chart, Line};
use crate::measurement::Measurement;
use crate::micro::Group;
use crate::million::Million;
use crate::postgres::Rounds;
use crate::results::{self, Kept};
use crate::scenario::Scenario;
use crate::share::{self, Share};
use crate::store::Pairs;
use crate::tables::{groups, hot, millions, on, pairs, rounds, runs, shares};
use anyhow::{Context, Result};
use std::path::Path;

/// Scenarios in the order of the page.
const SCENARIOS: [&str; 11] = [
    "spread",
    "town",
    "crossing",
    "work",
    "campfire",
    "tasks-hot",
    "tasks-wide",
    "share",
    "crowd",
    "limit",
    "transports",
];
/// Scenarios that are also measured with a program beside the server, in results of their own.
const BESIDE: [&str; 3] = ["spread", "town", "crowd"];
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
            "campfire" | "tasks-hot" | "tasks-wide" => hot(&results),
            _ => runs(&scenario, &results),
        };
        replace(&mut text, name, &(table + &on(&machine)))?;
        if name != "share" {
            bars.bars.extend(results.iter().filter_map(|measured| {
                let label = format!("{name}: {}", measured.variant.short_label());
                measured.times_bare().map(|ratio| (label, ratio))
            }));
        }
        match name {
            "share" => chart(name, share_chart(&share::shares(&results)).to_svg())?,
            "crowd" => chart(name, crowd_chart(&results).to_svg())?,
            "limit" => chart(name, limit_chart(&results).to_svg())?,
            _ => {}
        }
    }
    for scenario in BESIDE {
        let name = format!("{scenario}-beside");
        let kept: Option<Kept<Vec<Measurement>>> = results::read(bench, &name)?;
        let scenario = Scenario::read(&bench.join("scenarios").join(format!("{scenario}.toml")))?;
        let table = kept.map(|kept| runs(&scenario, &kept.results) + &on(&kept.machine));
        replace(&mut text, &name, table.as_deref().unwrap_or(NOT_MEASURED))?;
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
    for name in ["postgres", "postgres-loads"] {
        let kept: Option<Kept<Vec<Rounds>>> = results::read(bench, name)?;
        let table = kept.map(|kept| rounds(&kept.results) + &on(&kept.machine));
        replace(&mut text, name, table.as_deref().unwrap_or(NOT_MEASURED))?;
    }
    let million: Option<Kept<Vec<Million>>> = results::read(bench, "million")?;
    let table = million.map(|kept| millions(&kept.results) + &on(&kept.machine));
    replace(&mut text, "million", table.as_deref().unwrap_or(NOT_MEASURED))?;
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
        lines.push(Line { name: format!("logic, {}", share.players), points: over(&|_| logic) });
        lines.push(Line {
            name: format!("synchr., {}", share.players),
            points: over(&|lanes| lanes * synchronisation),
        });
    }
    let knees = shares.iter().map(|share| format!("{:.1}", share.knee()));
    let knees = knees.collect::<Vec<_>>().join(", ");
    let title =
        format!("lanes share a chunk: logic against synchronisation; knees at {knees} lanes");
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
        for name in
            SCENARIOS.iter().chain(&["micro", "store", "postgres", "postgres-loads", "million"])
        {
            replace(&mut text, name, "").expect("marks");
        }
        for name in BESIDE {
            replace(&mut text, &format!("{name}-beside"), "").expect("marks");
        }
    }
}
