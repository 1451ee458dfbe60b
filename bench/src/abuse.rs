//! Honest bots undisturbed, then beside abusive guests, then beside readers that read nothing; one server all along.

use crate::guests::{Guests, Visits};
use crate::process::{Addresses, Metrics, Process};
use crate::run::start;
use crate::scenario::{GuestsPart, Variant};
use anyhow::{Context, Result};
use pelago_bots::{Fleet, Interim};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long bots may take to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long guests may take until all are there, and to be gone again.
const SETTLE: Duration = Duration::from_secs(15);
/// For how long readers read nothing: less than after what they are closed.
const BLOCKED: Duration = Duration::from_secs(20);

/// What the bots were shown in one part of the run, and what the server used.
#[derive(Clone, Debug, Serialize)]
struct Part {
    bots: Interim,
    cores: f64,
    resident_bytes: u64,
}

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RudeMeasurement {
    undisturbed: Part,
    disturbed: Part,
    with_blocked: Part,
    visits: Visits,
    /// Cores that the abusive guests used: of the one that they share with the bots.
    guest_cores: f64,
    blocked: Visits,
    /// Resident, before blocked readers came, with them, after they left, and when as many had come again.
    blocked_before_bytes: u64,
    blocked_bytes: u64,
    blocked_after_bytes: u64,
    blocked_again_bytes: u64,
    /// Of the kernel for sockets, before and with them.
    kernel_before_bytes: u64,
    kernel_bytes: u64,
    blocked_count: usize,
    /// To be reached.
    staleness_ratio: f64,
    /// Limits that were met, all in all.
    limits: Vec<(String, f64)>,
}

pub(crate) async fn run(
    variant: &Variant,
    guests: &GuestsPart,
    server: &Path,
    scratch: &Path,
) -> Result<RudeMeasurement> {
    let process = start(variant, server, scratch, &scratch.join("recording"), None)?;
    let addresses: Addresses =
        serde_json::from_str(&process.first_line).context("the server's first line")?;
    let fleet = Fleet::start(variant.plan(addresses.tcp.clone(), None)?)?;
    let began = Instant::now();
    while fleet.playing() < variant.bots.count && began.elapsed() < ARRIVAL_TIMEOUT {
        sleep(Duration::from_millis(100)).await;
    }
    fleet.begin_measuring();
    sleep(Duration::from_secs(variant.time.settle_seconds)).await;
    let time = Duration::from_secs(variant.time.measure_seconds);

    println!("  undisturbed");
    let undisturbed = part(&fleet, &process, time).await?;

    println!("  beside {} abusive guests of each kind", guests.of_each);
    let of_each = guests.of_each.to_string();
    let http = addresses.http.split_once("://").map_or("", |(_, host)| host);
    let idle_http = guests.idle_http.to_string();
    let arguments = ["--of-each", &of_each, "--http", http, "--idle-http", &idle_http];
    let rude = Guests::send(&addresses.tcp, scratch, &arguments)?;
    sleep(SETTLE).await;
    let guests_before = rude.usage()?;
    let disturbed = part(&fleet, &process, time).await?;
    let guest_cores = rude.usage()?.cores_since(&guests_before);
    let visits = rude.leave().await?;
    sleep(SETTLE).await;

    println!("  beside {} who read nothing", guests.blocked);
    let before = process.usage()?;
    let count = guests.blocked.to_string();
    let blocked = Guests::send(&addresses.tcp, scratch, &["--blocked", &count])?;
    sleep(SETTLE).await;
    let with_blocked = part(&fleet, &process, BLOCKED).await?;
    let with = process.usage()?;
    let blocked = blocked.leave().await?;
    sleep(SETTLE).await;
    let after = process.usage()?;
    println!("  beside as many again");
    let again = Guests::send(&addresses.tcp, scratch, &["--blocked", &count])?;
    sleep(SETTLE + BLOCKED).await;
    let with_again = process.usage()?;
    again.leave().await?;

    let limits =
        Metrics::read(addresses.operators()).await?.by_label("pelago_limits_total", "limit");
    fleet.end().await?;
    process.stop().await?;
    Ok(RudeMeasurement {
        undisturbed,
        disturbed,
        with_blocked,
        visits,
        guest_cores,
        blocked,
        blocked_before_bytes: before.resident_bytes,
        blocked_bytes: with.resident_bytes,
        blocked_after_bytes: after.resident_bytes,
        blocked_again_bytes: with_again.resident_bytes,
        kernel_before_bytes: before.kernel_socket_bytes,
        kernel_bytes: with.kernel_socket_bytes,
        blocked_count: guests.blocked,
        staleness_ratio: guests.staleness_ratio,
        limits: limits.into_iter().filter(|(_, count)| *count > 0.0).collect(),
    })
}

async fn part(fleet: &Fleet, process: &Process, time: Duration) -> Result<Part> {
    let before = process.usage()?;
    fleet.interim();
    sleep(time).await;
    let (bots, after) = (fleet.interim(), process.usage()?);
    Ok(Part { bots, cores: after.cores_since(&before), resident_bytes: after.resident_bytes })
}

impl RudeMeasurement {
    fn ratio(&self) -> f64 {
        let p99 = |part: &Part| part.bots.staleness_p99_ms as f64;
        p99(&self.disturbed) / p99(&self.undisturbed).max(1.0)
    }

    fn kibibytes_per_blocked(&self) -> f64 {
        let more = self.blocked_bytes.saturating_sub(self.blocked_before_bytes);
        more as f64 / 1024.0 / self.blocked_count.max(1) as f64
    }

    /// What was not reached.
    fn objections(&self) -> Vec<String> {
        let mut objections = Vec::new();
        if self.ratio() > self.staleness_ratio {
            objections.push(format!(
                "staleness p99 is {:.2} times the undisturbed one, to reach was {}",
                self.ratio(),
                self.staleness_ratio
            ));
        }
        let wrong: u64 = self.visits.wrong.values().sum();
        if wrong > 0 {
            objections.push(format!("{wrong} visits were answered otherwise than defined"));
        }
        if self.with_blocked.bots.cut_off > 0 {
            objections.push(format!("{} honest bots were cut off", self.with_blocked.bots.cut_off));
        }
        objections
    }
}

impl fmt::Display for RudeMeasurement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, part) in [
            ("undisturbed", &self.undisturbed),
            ("with rude guests", &self.disturbed),
            ("with blocked readers", &self.with_blocked),
        ] {
            writeln!(
                out,
                "  {name}: {} playing, staleness p50 {} p99 {} ms, error p99 {} m, longest gap {} ms, {} cut off; {:.3} cores, {:.0} MiB",
                part.bots.playing,
                part.bots.staleness_p50_ms,
                part.bots.staleness_p99_ms,
                part.bots.position_error_p99_m,
                part.bots.longest_gap_ms,
                part.bots.cut_off,
                part.cores,
                part.resident_bytes as f64 / 1048576.0
            )?;
        }
        let right: u64 = self.visits.right.values().sum();
        writeln!(
            out,
            "  staleness p99 ratio {:.2}; {right} visits answered as defined, {} moved too late; the guests used {:.2} cores",
            self.ratio(),
            self.visits.late,
            self.guest_cores
        )?;
        for (kind, count) in &self.visits.wrong {
            writeln!(out, "    not as defined: {kind}: {count}")?;
        }
        let mib = |bytes: u64| bytes as f64 / 1048576.0;
        writeln!(
            out,
            "  {} blocked: {:.1} KiB each; resident {:.1} MiB before, {:.1} with, {:.1} after, {:.1} with as many again; kernel {:.1} MiB before, {:.1} with; {} were lost",
            self.blocked.stopped,
            self.kibibytes_per_blocked(),
            mib(self.blocked_before_bytes),
            mib(self.blocked_bytes),
            mib(self.blocked_after_bytes),
            mib(self.blocked_again_bytes),
            mib(self.kernel_before_bytes),
            mib(self.kernel_bytes),
            self.blocked.lost
        )?;
        let limits = self.limits.iter().map(|(name, count)| format!("{name} {count}"));
        writeln!(out, "  limits met: {}", limits.collect::<Vec<_>>().join(", "))?;
        for objection in self.objections() {
            writeln!(out, "  not reached: {objection}")?;
        }
        Ok(())
    }
}
