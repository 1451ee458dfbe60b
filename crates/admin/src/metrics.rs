//! `/metrics`: what nodes tell operators, in the form of Prometheus.

use crate::measured_store;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pelago_model::{Limit, Size};
use pelago_runtime::process::Cluster;
use pelago_runtime::tasks::NodeShell;
use pelago_store::StoreCounters;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

/// The gauges of everything that can grow.
const HELD: &str = "pelago_held";
const HELD_LIMIT: &str = "pelago_held_limit";

/// Describes all numbers and begins to keep them.
pub fn install() -> anyhow::Result<PrometheusHandle> {
    let seconds = Matcher::Full(measured_store::SECONDS.to_owned());
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(seconds, &measured_store::BUCKETS)?;
    let handle = builder.install_recorder()?;
    metrics::describe_gauge!("pelago_clients", "Connections of clients.");
    metrics::describe_gauge!("pelago_players", "Players on a lane.");
    metrics::describe_gauge!(HELD, "How full a queue or a table is: of a lane, or of the node.");
    metrics::describe_gauge!(HELD_LIMIT, "There are never more in this queue or table.");
    metrics::describe_gauge!("pelago_steward_backlog", "Durable commands not yet answered.");
    metrics::describe_counter!("pelago_steward_commits_total", "Batches committed by stewards.");
    metrics::describe_counter!(
        "pelago_steward_turns_total",
        "Turns of those batches: over pelago_steward_commits_total, how many share a commit."
    );
    metrics::describe_counter!("pelago_lane_busy_milliseconds_total", "Time a lane has worked.");
    metrics::describe_counter!("pelago_frames_total", "Frames published by a lane.");
    metrics::describe_counter!("pelago_deliveries_total", "Writes to clients at ticks.");
    metrics::describe_counter!("pelago_delivered_bytes_total", "Bytes delivered at ticks.");
    metrics::describe_counter!("pelago_moves_total", "Moves, by whether they were accepted.");
    metrics::describe_counter!("pelago_durable_total", "Durable commands acknowledged.");
    metrics::describe_counter!("pelago_refused_total", "Commands refused.");
    metrics::describe_counter!("pelago_malformed_total", "Messages not understood.");
    metrics::describe_counter!("pelago_limits_total", "Limits met, see docs/limits.md.");
    metrics::describe_counter!("pelago_bytes_total", "Bytes, by peer or client and direction.");
    metrics::describe_counter!("pelago_blocked_writes_total", "Writes not taken whole.");
    metrics::describe_counter!("pelago_link_gaps_total", "Gaps in streams between nodes.");
    metrics::describe_counter!("pelago_link_frames_total", "Frames read from other nodes.");
    metrics::describe_counter!("pelago_call_retries_total", "Calls tried at another node.");
    metrics::describe_counter!("pelago_writes_total", "Writes to sockets, by peer or client.");
    metrics::describe_counter!("pelago_store_transactions_total", "Transactions, by their end.");
    metrics::describe_counter!("pelago_store_groups_total", "Groups of transactions written.");
    metrics::describe_counter!(
        "pelago_store_grouped_total",
        "Transactions of those groups: over pelago_store_groups_total, how large groups are."
    );
    metrics::describe_counter!("pelago_store_loads_total", "Loads of documents.");
    metrics::describe_histogram!(measured_store::SECONDS, "Until the store has answered.");
    metrics::describe_gauge!(measured_store::WAITING, "What the store has not answered yet.");
    metrics::describe_counter!(
        "pelago_store_retries_total",
        "Groups that were decided anew because other processes were in the way."
    );
    metrics::describe_counter!(
        "pelago_store_reconnects_total",
        "Connections to the database that were lost and made again."
    );
    metrics::describe_gauge!(
        "pelago_store_waiting_bytes",
        "Bytes of transactions that are not answered yet."
    );
    #[cfg(feature = "count-allocations")]
    metrics::describe_counter!("pelago_allocations_total", "Allocations of memory.");
    Ok(handle)
}

/// The numbers as they are now.
pub fn render(cluster: &Cluster, handle: &PrometheusHandle) -> String {
    cluster.nodes.iter().for_each(collect);
    collect_store(cluster.store.counters());
    #[cfg(feature = "count-allocations")]
    {
        let stats = stats_alloc::INSTRUMENTED_SYSTEM.stats();
        let count = stats.allocations + stats.reallocations;
        metrics::counter!("pelago_allocations_total").absolute(count as u64);
    }
    handle.render()
}

fn collect_store(counters: StoreCounters) {
    for (end, value) in [
        ("committed", counters.committed),
        ("conflict", counters.conflicts),
        ("failed", counters.failed),
        ("unknown", counters.unknown),
    ] {
        metrics::counter!("pelago_store_transactions_total", "end" => end).absolute(value);
    }
    for (name, value) in [
        ("pelago_store_groups_total", counters.groups),
        ("pelago_store_grouped_total", counters.grouped),
        ("pelago_store_loads_total", counters.loads),
        ("pelago_store_retries_total", counters.retries),
        ("pelago_store_reconnects_total", counters.reconnects),
    ] {
        metrics::counter!(name).absolute(value);
    }
    metrics::gauge!("pelago_store_waiting_bytes").set(counters.waiting_bytes as f64);
}

fn collect_sizes(whose: &[(&'static str, String)], sizes: &Mutex<Vec<Size>>) {
    for size in &*sizes.lock().unwrap_or_else(PoisonError::into_inner) {
        let labels = [whose, &[("of", size.of.to_owned())]].concat();
        metrics::gauge!(HELD, &labels).set(size.held as f64);
        metrics::gauge!(HELD_LIMIT, &labels).set(size.limit as f64);
    }
}

fn collect(shell: &NodeShell) {
    let node = shell.node.to_string();
    let status = &shell.status;
    metrics::gauge!("pelago_clients", "node" => node.clone())
        .set(status.connections.load(Relaxed) as f64);
    metrics::gauge!("pelago_steward_backlog", "node" => node.clone())
        .set(status.backlog.load(Relaxed) as f64);
    collect_sizes(&[("node", node.clone())], &status.sizes);
    let stewards = *status.stewards.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, value) in [
        ("pelago_steward_commits_total", stewards.commits),
        ("pelago_steward_turns_total", stewards.turns),
    ] {
        metrics::counter!(name, "node" => node.clone()).absolute(value);
    }
    for (number, lane) in status.lanes.iter().enumerate() {
        let labels = [("node", node.clone()), ("lane", number.to_string())];
        metrics::gauge!("pelago_players", &labels).set(lane.players.load(Relaxed) as f64);
        let busy = lane.busy_ns.load(Relaxed) / 1_000_000;
        metrics::counter!("pelago_lane_busy_milliseconds_total", &labels).absolute(busy);
        collect_sizes(&labels, &lane.sizes);
        let counters = *lane.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in [
            ("pelago_frames_total", counters.frames),
            ("pelago_deliveries_total", counters.deliveries),
            ("pelago_delivered_bytes_total", counters.delivered_bytes),
            ("pelago_durable_total", counters.durable_acknowledged),
            ("pelago_refused_total", counters.refused),
            ("pelago_malformed_total", counters.malformed),
        ] {
            metrics::counter!(name, &labels).absolute(value);
        }
        for (result, value) in [("accepted", counters.moves), ("refused", counters.moves_refused)] {
            let labels =
                [("node", node.clone()), ("lane", number.to_string()), ("result", result.into())];
            metrics::counter!("pelago_moves_total", &labels).absolute(value);
        }
    }
    for (with, traffic) in [("client", &status.traffic), ("peer", &status.peer_traffic)] {
        for (direction, value) in [("in", &traffic.received), ("out", &traffic.sent)] {
            let labels = [("node", node.clone()), ("with", with.into()), ("dir", direction.into())];
            metrics::counter!("pelago_bytes_total", &labels).absolute(value.load(Relaxed));
        }
        let labels = [("node", node.clone()), ("with", with.into())];
        metrics::counter!("pelago_blocked_writes_total", &labels)
            .absolute(traffic.blocked.load(Relaxed));
        metrics::counter!("pelago_writes_total", &labels).absolute(traffic.writes.load(Relaxed));
    }
    collect_limits(&node, shell);
    let links = *status.links.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, value) in [
        ("pelago_link_gaps_total", links.gaps),
        ("pelago_link_frames_total", links.frames),
        ("pelago_call_retries_total", links.retried),
    ] {
        metrics::counter!(name, "node" => node.clone()).absolute(value);
    }
}

fn collect_limits(node: &str, shell: &NodeShell) {
    let status = &shell.status;
    let mut counts = *status.limits.lock().unwrap_or_else(PoisonError::into_inner);
    for lane in &status.lanes {
        counts.merge(&lane.counters.lock().unwrap_or_else(PoisonError::into_inner).limits);
    }
    counts.merge(&status.traffic.limits());
    counts.merge(&status.peer_traffic.limits());
    for limit in Limit::ALL {
        let labels = [("node", node.to_owned()), ("limit", limit.name().to_owned())];
        metrics::counter!("pelago_limits_total", &labels).absolute(counts.of(limit));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_about_the_store_names_numbers_that_exist() {
        let page = include_str!("../../../docs/operating/store.md");
        let code = [include_str!("metrics.rs"), include_str!("measured_store.rs")].concat();
        let names: Vec<&str> = page
            .split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|word| word.starts_with("pelago_"))
            .collect();
        assert!(names.len() > 10);
        for name in names {
            assert!(code.contains(&format!("\"{name}\"")), "there is no {name}");
        }
    }
}
