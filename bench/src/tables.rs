//! Tables of the page, in Markdown.

use crate::measurement::pairs::{Range, tell};
use crate::measurement::{Beside, Measurement, Stewards};
use crate::micro::Group;
use crate::million::{After, Million};
use crate::postgres::{Request, Round, Rounds};
use crate::results::Machine;
use crate::scenario::Scenario;
use crate::share::{self, Share};
use crate::store::{self, Pairs};
use std::fmt::Write;

/// Where it was measured.
pub(crate) fn on(machine: &Machine) -> String {
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
pub(crate) fn runs(scenario: &Scenario, results: &[Measurement]) -> String {
    let got = table(
        [
            "",
            "in sight",
            "received / expected",
            "staleness p50, p99 ms",
            "error p99 m",
            "missing of near",
            "acknowledged p99 ms",
            "bytes per neighbour-s (with snapshots)",
            "bytes of snapshots per player-s",
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
                format!(
                    "{:.2} ({:.2})",
                    it.bytes_per_neighbour_second(),
                    it.bytes_per_neighbour_second_with_snapshots()
                ),
                format!("{:.0}", it.snapshot_bytes_per_player_second()),
            ]
        }),
    );
    let took = table(
        [
            "",
            "cores",
            "of them kernel",
            "idle on the core",
            "writes/s",
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
            let bare = match Range::times_bare(&it.pairs) {
                Some(range) => Some(range.to_string()),
                None => it.times_bare().map(|ratio| format!("{ratio:.2}")),
            };
            let idle = cost.idle_share.map(|share| format!("{:.0} %", share * 100.0));
            let per_group = it.store.committed / it.store.groups.max(1.0);
            [
                it.variant.short_label(),
                format!("{:.2}", it.cores()),
                format!("{:.0} %", cost.system_seconds / (it.cores() * cost.seconds) * 100.0),
                idle.unwrap_or_else(|| "-".into()),
                format!("{:.0}", cost.writes / cost.seconds),
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
    if let [slow, .., fast] = results
        && fast.variant.bots.speed_metres_per_second > slow.variant.bots.speed_metres_per_second
    {
        let _ = writeln!(out, "\n{}", crossing(slow, fast));
    }
    for measured in results {
        for target in measured.not_reached(&scenario.targets) {
            let label = measured.variant.short_label();
            let _ = writeln!(out, "\n**Not reached** ({label}): {target}.");
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
        if !measured.pairs.is_empty() {
            let label = measured.variant.short_label();
            let _ = writeln!(out, "\n{label}: {}.", tell(&measured.pairs));
        }
        if let Some(Beside { share, took }) = &measured.beside {
            let label = measured.variant.short_label();
            let _ = writeln!(
                out,
                "\n{label}: a program beside the server wanted {share:.2} of its core, and got {took:.2}."
            );
        }
    }
    out
}

/// What a crossing costs: the difference between people who cross often and as many who rarely do.
fn crossing(slow: &Measurement, fast: &Measurement) -> String {
    let per_second = |of: &dyn Fn(&Measurement) -> f64| {
        of(fast) / fast.report.seconds - of(slow) / slow.report.seconds
    };
    let crossings = per_second(&|it| it.report.sight.crossings as f64);
    let bytes = per_second(&|it| it.report.bytes.snapshots as f64) / crossings;
    let cpu_us = (fast.cores() - slow.cores()) * 1e6 / crossings;
    format!(
        "A crossing costs {bytes:.0} bytes of snapshots and {cpu_us:.0} us of the server's CPU: the difference between the last and the first line, divided by the crossings."
    )
}

/// Logic against synchronisation.
pub(crate) fn shares(shares: &[Share]) -> String {
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

/// A document that everybody changes.
pub(crate) fn hot(results: &[Measurement]) -> String {
    let rows = results.iter().map(|it| {
        let (commands, updates) = (&it.report.commands, &it.report.updates);
        let per_second = |count: f64| format!("{:.0}", count / it.cost.seconds);
        let stewards = it.stewards.as_ref();
        let of = |of: &dyn Fn(&Stewards) -> String| stewards.map_or_else(|| "-".into(), of);
        [
            match it.variant.bots.gather_seconds {
                Some(seconds) if seconds > 0.0 => format!("every {seconds} s"),
                _ => "at once".into(),
            },
            it.variant.world.batch_turns.map_or_else(|| "-".into(), |turns| turns.to_string()),
            it.variant.world.services.unwrap_or(1).to_string(),
            per_second(commands.acked as f64),
            format!("{}, {}", commands.p50_ms, commands.p99_ms),
            of(&|stewards| per_second(stewards.commits)),
            of(&|stewards| format!("{:.1}", stewards.turns_per_commit())),
            of(&|stewards| format!("{}, {:.0}", commands.refused, stewards.busy)),
            format!("{}, {}", updates.staleness_p50_ms, updates.staleness_p99_ms),
            format!("{:.2}", it.cores()),
        ]
    });
    table(
        [
            "each acts again",
            "turns per commit at most",
            "stewards' tasks per node",
            "acknowledged/s",
            "acknowledged p50, p99 ms",
            "commits/s of stewards",
            "turns per commit",
            "refused, of them busy",
            "staleness p50, p99 ms",
            "cores",
        ],
        rows,
    )
}

/// Small benches.
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

/// The store.
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

/// The store in PostgreSQL beside pgbench.
pub(crate) fn rounds(all: &[Rounds]) -> String {
    let rows = all.iter().map(|rounds| {
        let beside = |of: fn(&Round) -> f64| {
            let ratio = |round: &Round| round.engine / of(round);
            let ((low, high), ratio) = (rounds.range(ratio), rounds.median(ratio));
            format!("{:.0} = **{ratio:.2}** ({low:.2}-{high:.2})", rounds.median(of))
        };
        let request = match rounds.request {
            Request::Commit => "commits".to_owned(),
            Request::Load(1) => "loads of a document".to_owned(),
            Request::Load(keys) => format!("loads of {keys} documents"),
        };
        [
            format!("{request}, {}", rounds.in_flight),
            format!("{:.0}", rounds.median(|round| round.engine)),
            beside(|round| round.single),
            beside(|round| round.grouped),
            format!("{:.0}", rounds.median(|round| round.group as f64)),
            format!("{:.2}", rounds.median(|round| round.engine_p99_ms)),
            format!("{:.1}", rounds.median(|round| round.engine_cpu_us)),
        ]
    });
    let head = [
        "in flight",
        "engine, per second",
        "pgbench, each alone",
        "pgbench, in the engine's groups",
        "in a group",
        "engine's p99 ms",
        "CPU us of the engine's process",
    ];
    table(head, rows)
}

/// A million documents.
pub(crate) fn millions(all: &[Million]) -> String {
    const MEBIBYTE: f64 = 1024.0 * 1024.0;
    let took = table(
        [
            "engine",
            "MiB stored",
            "filled in s",
            "MiB on the disk",
            "per byte stored",
            "of it the log, the feed, MiB",
        ],
        all.iter().map(|it| {
            let mebibytes = |bytes: u64| format!("{:.0}", bytes as f64 / MEBIBYTE);
            let part = |bytes: Option<u64>| bytes.map_or_else(|| "-".into(), mebibytes);
            [
                it.engine.clone(),
                mebibytes(it.stored_bytes),
                format!("{:.0}", it.filled_seconds),
                mebibytes(it.disk_bytes),
                format!("**{:.2}**", it.disk_bytes as f64 / it.stored_bytes as f64),
                format!("{}, {}", part(it.log_bytes), part(it.feed_bytes)),
            ]
        }),
    );
    let kinds = [
        (After::Cold, "cold"),
        (After::Killed, "after `kill -9` of everything"),
        (After::Left, "after `kill -9` of the process beside the database"),
    ];
    let starts = table(
        ["start", "ms to the first load", "loads per second then", "MiB of memory then"],
        all.iter().flat_map(|it| {
            kinds.iter().filter_map(move |(after, how)| {
                Some([
                    format!("{}, {how}", it.engine),
                    format!("{:.0}", it.median(*after, |start| start.ready_ms)?),
                    format!("{:.0}", it.median(*after, |start| start.loads_per_second)?),
                    format!(
                        "{:.0}",
                        it.median(*after, |start| start.memory_bytes as f64)? / MEBIBYTE
                    ),
                ])
            })
        }),
    );
    format!("{took}\n{starts}")
}
