//! `/metrics`: what nodes tell operators, in the form of Prometheus.

use crate::measured_store;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use pelago_model::NodeId;
use pelago_runtime::admin_calls::{
    CountersAnswer, HeldAnswer, LaneCounts, Question, ServiceCount, StatusAnswer, ask_all,
};
use pelago_runtime::{AdminCalls, Alarm, TaskReport};
use pelago_store::StoreCounters;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The gauges of everything that can grow.
const HELD: &str = "pelago_held";
const HELD_LIMIT: &str = "pelago_held_limit";

/// The time that tasks have worked. It is written by hand, since counters of the recorder are whole numbers.
const TASK_BUSY: &str = "pelago_task_busy_seconds_total";

/// How often what was measured is summed up. Until then every measurement is kept by itself.
const SUM_UP_EVERY: Duration = Duration::from_secs(5);

/// The numbers of this process.
pub struct Metrics(PrometheusHandle);

/// Describes all numbers and begins to keep them.
///
/// # Errors
/// If the process keeps numbers already.
pub fn install() -> Result<Metrics, BuildError> {
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
    metrics::describe_gauge!("pelago_service", "What a service counts, by its role and the name.");
    metrics::describe_counter!("pelago_lane_busy_milliseconds_total", "Time a lane has worked.");
    metrics::describe_gauge!("pelago_task_mailbox", "Inputs that wait for a task.");
    metrics::describe_gauge!(
        "pelago_task_longest_wait_seconds",
        "How long an input of a task has waited at most, in the last half minute or so."
    );
    metrics::describe_gauge!("pelago_node_answers", "Whether a node answers operators.");
    metrics::describe_gauge!("pelago_node_ready", "Whether players can be sent to a node.");
    metrics::describe_gauge!("pelago_node_alarm", "What to look at, see docs/operating/nodes.md.");
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
    Ok(Metrics(handle))
}

impl Metrics {
    /// Sums up what was measured, again and again, so that it does not grow although nobody asks for it. Never ends.
    pub fn sum_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let handle = self.0.clone();
        async move {
            loop {
                sleep(SUM_UP_EVERY).await;
                handle.run_upkeep();
            }
        }
    }

    /// The numbers as they are now, of the nodes that answer and of the store.
    pub async fn render(&self, calls: &Arc<dyn AdminCalls>, store: StoreCounters) -> String {
        let tasks = collect_nodes(calls).await;
        collect_store(store);
        #[cfg(feature = "count-allocations")]
        {
            let stats = stats_alloc::INSTRUMENTED_SYSTEM.stats();
            let count = stats.allocations + stats.reallocations;
            metrics::counter!("pelago_allocations_total").absolute(count as u64);
        }
        let mut text = self.0.render();
        write_busy(&mut text, &tasks);
        text
    }
}

/// What the nodes that answer say.
async fn answers<T: DeserializeOwned>(
    calls: &Arc<dyn AdminCalls>,
    question: Question,
) -> BTreeMap<NodeId, T> {
    let answers = ask_all(calls, &question).await.into_iter();
    answers.filter_map(|(node, answer)| Some((node, answer.ok()?.read(node).ok()?))).collect()
}

/// Collects what all nodes say, and gives the numbers of their tasks.
async fn collect_nodes(calls: &Arc<dyn AdminCalls>) -> BTreeMap<NodeId, Vec<TaskReport>> {
    let statuses = answers::<StatusAnswer>(calls, Question::Status).await;
    for node in calls.nodes() {
        collect_status(&node.to_string(), statuses.get(&node));
    }
    for (node, counters) in answers::<CountersAnswer>(calls, Question::Counters).await {
        collect_counters(&node.to_string(), &counters);
    }
    for (node, sizes) in answers::<Vec<HeldAnswer>>(calls, Question::Sizes).await {
        collect_sizes(&node.to_string(), &sizes);
    }
    for (node, limits) in answers::<BTreeMap<String, u64>>(calls, Question::Limits).await {
        for (limit, count) in limits {
            let labels = [("node", node.to_string()), ("limit", limit)];
            metrics::counter!("pelago_limits_total", &labels).absolute(count);
        }
    }
    let tasks = answers::<Vec<TaskReport>>(calls, Question::Tasks).await;
    for (node, tasks) in &tasks {
        for task in tasks {
            let labels = [("node", node.to_string()), ("task", task.task.clone())];
            metrics::gauge!("pelago_task_mailbox", &labels).set(task.mailbox as f64);
            metrics::gauge!("pelago_task_longest_wait_seconds", &labels)
                .set(seconds(task.longest_wait_ns));
        }
    }
    tasks
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Names of tasks need no escapes.
fn write_busy(text: &mut String, tasks: &BTreeMap<NodeId, Vec<TaskReport>>) {
    let _ =
        writeln!(text, "# HELP {TASK_BUSY} Time a task has worked.\n# TYPE {TASK_BUSY} counter");
    for (node, tasks) in tasks {
        for TaskReport { task, busy_ns, .. } in tasks {
            let busy = seconds(*busy_ns);
            let _ = writeln!(text, "{TASK_BUSY}{{node=\"{node}\",task=\"{task}\"}} {busy}");
        }
    }
}

fn collect_status(node: &str, status: Option<&StatusAnswer>) {
    let flag = |holds: bool| if holds { 1.0 } else { 0.0 };
    metrics::gauge!("pelago_node_answers", "node" => node.to_owned()).set(flag(status.is_some()));
    let ready = status.is_some_and(|status| status.ready);
    metrics::gauge!("pelago_node_ready", "node" => node.to_owned()).set(flag(ready));
    for alarm in Alarm::ALL {
        let raised = status.is_some_and(|status| status.alarms.contains(&alarm));
        let labels = [("node", node.to_owned()), ("alarm", alarm.name().to_owned())];
        metrics::gauge!("pelago_node_alarm", &labels).set(flag(raised));
    }
    let Some(clock) = status.map(|status| status.world.clock) else { return };
    metrics::gauge!("pelago_clock_offset_seconds", "node" => node.to_owned())
        .set(clock.offset_ms as f64 / 1e3);
    metrics::gauge!("pelago_clock_skew_seconds", "node" => node.to_owned())
        .set(clock.skew_ms as f64 / 1e3);
    metrics::gauge!("pelago_clock_rate_ppm", "node" => node.to_owned()).set(clock.rate_ppm as f64);
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

fn collect_sizes(node: &str, sizes: &[HeldAnswer]) {
    for size in sizes {
        let mut labels = vec![("node", node.to_owned())];
        labels.extend(size.lane.map(|lane| ("lane", lane.to_string())));
        labels.push(("of", size.of.clone()));
        metrics::gauge!(HELD, &labels).set(size.held as f64);
        metrics::gauge!(HELD_LIMIT, &labels).set(size.limit as f64);
    }
}

fn collect_counters(node: &str, counters: &CountersAnswer) {
    let node = || node.to_owned();
    metrics::gauge!("pelago_clients", "node" => node()).set(counters.connections as f64);
    metrics::gauge!("pelago_steward_backlog", "node" => node()).set(counters.backlog as f64);
    for (name, value) in [
        ("pelago_steward_commits_total", counters.stewards.commits),
        ("pelago_steward_turns_total", counters.stewards.turns),
        ("pelago_link_gaps_total", counters.links.gaps),
        ("pelago_link_frames_total", counters.links.frames),
        ("pelago_call_retries_total", counters.links.retried),
    ] {
        metrics::counter!(name, "node" => node()).absolute(value);
    }
    for ServiceCount { role, name, count } in &counters.services {
        // Some count what there is, and may fall.
        let labels = [("node", node()), ("role", role.to_string()), ("name", name.clone())];
        metrics::gauge!("pelago_service", &labels).set(*count as f64);
    }
    for (number, lane) in counters.lanes.iter().enumerate() {
        collect_lane(&[("node", node()), ("lane", number.to_string())], lane);
    }
    for (with, traffic) in [("client", &counters.clients), ("peer", &counters.peers)] {
        let labels = [("node", node()), ("with", with.to_owned())];
        for (direction, value) in [("in", traffic.received), ("out", traffic.sent)] {
            let labels = [&labels[..], &[("dir", direction.to_owned())]].concat();
            metrics::counter!("pelago_bytes_total", &labels).absolute(value);
        }
        metrics::counter!("pelago_blocked_writes_total", &labels).absolute(traffic.blocked);
        metrics::counter!("pelago_writes_total", &labels).absolute(traffic.writes);
    }
}

fn collect_lane(labels: &[(&'static str, String)], lane: &LaneCounts) {
    metrics::gauge!("pelago_players", labels).set(lane.players as f64);
    for (name, value) in [
        ("pelago_lane_busy_milliseconds_total", lane.busy_ns / 1_000_000),
        ("pelago_frames_total", lane.frames),
        ("pelago_deliveries_total", lane.deliveries),
        ("pelago_delivered_bytes_total", lane.delivered_bytes),
        ("pelago_durable_total", lane.durable_acknowledged),
        ("pelago_refused_total", lane.refused),
        ("pelago_malformed_total", lane.malformed),
    ] {
        metrics::counter!(name, labels).absolute(value);
    }
    for (result, value) in [("accepted", lane.moves), ("refused", lane.moves_refused)] {
        let labels = [labels, &[("result", result.to_owned())]].concat();
        metrics::counter!("pelago_moves_total", &labels).absolute(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_about_operating_name_numbers_that_exist() {
        let code = [
            include_str!("metrics.rs"),
            include_str!("measured_store.rs"),
            include_str!("retention.rs"),
        ]
        .concat();
        for (page, at_least) in [
            (include_str!("../../../docs/operating/store.md"), 11),
            (include_str!("../../../docs/operating/nodes.md"), 6),
        ] {
            let names: Vec<&str> = page
                .split(|c: char| !c.is_ascii_lowercase() && c != '_')
                .filter(|word| word.starts_with("pelago_"))
                .collect();
            assert!(names.len() >= at_least);
            for name in names {
                assert!(code.contains(&format!("\"{name}\"")), "there is no {name}");
            }
        }
    }

    #[test]
    fn every_alarm_is_described() {
        let page = include_str!("../../../docs/operating/nodes.md");
        for alarm in Alarm::ALL {
            assert!(page.contains(&format!("\n| `{}` |", alarm.name())), "{alarm:?}");
        }
    }

    /// The resident memory of this process, in bytes.
    fn resident_bytes() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_measured_does_not_grow_although_nobody_asks() {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("seconds".to_owned()), &[0.5, 1.0])
            .unwrap()
            .build_recorder();
        let metrics = Metrics(recorder.handle());
        let keeping = tokio::spawn(metrics.sum_up());
        let before = resident_bytes();
        for _ in 0..200 {
            metrics::with_local_recorder(&recorder, || {
                let seconds = metrics::histogram!("test_seconds");
                (0..20_000).for_each(|_| seconds.record(0.25));
            });
            sleep(SUM_UP_EVERY).await;
        }
        // Four million measurements of eight bytes and more are 32 MiB and more.
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes");
        assert!(metrics.0.render().contains("test_seconds_count 4000000"));
        keeping.abort();
    }

    #[test]
    fn the_time_of_tasks_is_written_in_seconds() {
        let task = TaskReport {
            task: "lane_0".to_owned(),
            busy_ns: 1_500_000_000,
            mailbox: 0,
            mailbox_limit: None,
            longest_wait_ns: 0,
        };
        let mut text = String::new();
        write_busy(&mut text, &BTreeMap::from([(NodeId(2), vec![task])]));
        let line = "pelago_task_busy_seconds_total{node=\"2\",task=\"lane_0\"} 1.5";
        assert_eq!(text.lines().last(), Some(line));
    }
}
