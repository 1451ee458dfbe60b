//! Interleaved runs: the server and the bare program in turn, an older build among them if one is compared with.
//!
//! A machine is not the same from one minute to the next, and one run differs from another by more than what is to be
//! found out. What runs in turn meets the same machine, and the median of several ratios is what counts.

use crate::measurement::Measurement;
use crate::measurement::pairs::{Pair, Run};
use crate::run::{Setting, run};
use crate::scenario::Variant;
use anyhow::Result;
use std::path::Path;

/// Runs so many pairs of a variant. Returns the run of the median ratio, with all pairs.
pub(crate) async fn pairs(
    variant: &Variant,
    setting: &Setting<'_>,
    before: Option<&Path>,
    count: usize,
) -> Result<Measurement> {
    let mut runs: Vec<Measurement> = Vec::with_capacity(count);
    let mut pairs: Vec<Pair> = Vec::with_capacity(count);
    for number in 0..count {
        let older = before.map(|server| Setting { server, ..*setting });
        // Which build goes first alternates as well.
        let (now, before) = match &older {
            Some(older) if number % 2 == 0 => {
                let before = run(variant, older).await?;
                (run(variant, setting).await?, Some(before))
            }
            Some(older) => {
                let now = run(variant, setting).await?;
                (now, Some(run(variant, older).await?))
            }
            None => (run(variant, setting).await?, None),
        };
        let pair = Pair { now: Run::of(&now), before: before.as_ref().map(Run::of) };
        if count > 1 || pair.before.is_some() {
            println!("  {}", tell(number, &pair));
        }
        pairs.push(pair);
        runs.push(now);
    }
    let mut measured = median(runs)?;
    if count > 1 || before.is_some() {
        measured.pairs = pairs;
    }
    Ok(measured)
}

fn tell(number: usize, pair: &Pair) -> String {
    let side = |name: &str, run: &Run| {
        let bare = run.times_bare.map(|ratio| format!(", {ratio:.2} times the bare one"));
        let (cores, p99) = (run.cores, run.staleness_p99_ms);
        format!("{name} {cores:.3} cores{}, p99 {p99} ms", bare.unwrap_or_default())
    };
    let before = pair.before.as_ref().map(|run| side("; before", run)).unwrap_or_default();
    format!("pair {}: {}{before}", number + 1, side("now", &pair.now))
}

/// The run in the middle: by the ratio to the bare program or, without one, by the CPU. Of two, the worse one.
fn median(mut runs: Vec<Measurement>) -> Result<Measurement> {
    let cost = |run: &Measurement| {
        run.baseline.as_ref().map_or_else(|| run.cores(), |baseline| baseline.ratio())
    };
    runs.sort_by(|one, other| cost(one).total_cmp(&cost(other)));
    anyhow::ensure!(!runs.is_empty(), "no pair was asked for");
    Ok(runs.swap_remove(runs.len() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{self, Kept};

    #[test]
    fn the_run_of_the_median_ratio_stands_for_all() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let kept: Option<Kept<Vec<Measurement>>> =
            results::read(folder, "spread").expect("results that can be read");
        let kept = kept.expect("results").results.remove(0);
        let with_game_cpu = |game_cpu| {
            let mut run = kept.clone();
            run.baseline.as_mut().expect("a baseline").game_cpu = game_cpu;
            run
        };
        let middle = median([0.9, 0.5, 0.7].map(with_game_cpu).to_vec()).expect("a run");
        assert_eq!(middle.baseline.map(|baseline| baseline.game_cpu), Some(0.7));
        assert!(median(Vec::new()).is_err());
    }
}
