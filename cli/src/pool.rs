//! Long cases on several threads of the host.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{bail, Result};

/// Runs `work` on every case, on up to `threads` threads, those of the highest `cost` first, so that no
/// thread is left with a long one at the end. Results are in the order of the cases; `show` gets the share of
/// the cost that is done. The first error ends it all.
///
/// # Errors
/// That one.
pub fn run<C: Sync, R: Send>(
    cases: &[C],
    threads: usize,
    cost: impl Fn(&C) -> f64,
    work: impl Fn(&C) -> Result<R> + Sync,
    show: impl Fn(f64) + Sync,
) -> Result<Vec<R>> {
    let costs: Vec<f64> = cases.iter().map(cost).collect();
    let total: f64 = costs.iter().sum();
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by(|&a, &b| costs[b].total_cmp(&costs[a]));
    let (next, done) = (AtomicUsize::new(0), Mutex::new((0.0, Vec::new())));
    let thread = || -> Result<()> {
        while let Some(&place) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = work(&cases[place]);
            if result.is_err() {
                // What the others have not begun is not needed any more.
                next.store(order.len(), Ordering::Relaxed);
            }
            let result = result?;
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.0 += costs[place];
            done.1.push((place, result));
            show(done.0 / total);
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        // This one, and as many others as the host starts.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, thread);
        let others: Vec<_> = (1..threads.min(cases.len())).map_while(|i| spawn(i).ok()).collect();
        let own = thread();
        for thread in others {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(_) => bail!("a thread of the host panicked"),
            }
        }
        own
    })?;
    let (_, mut results) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(place, _)| *place);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_an_error_comes_back() {
        let cases = [3u32, 9, 1, 7, 2];
        for threads in [1, 3] {
            let shares = Mutex::new(Vec::new());
            let show = |share| shares.lock().unwrap_or_else(PoisonError::into_inner).push(share);
            let doubled = run(&cases, threads, |&c| f64::from(c), |&c| Ok(2 * c), show);
            assert_eq!(doubled.ok(), Some(vec![6, 18, 2, 14, 4]));
            let shares = shares.into_inner().unwrap_or_else(PoisonError::into_inner);
            assert!(shares.windows(2).all(|w| w[0] < w[1]) && shares.last() == Some(&1.0), "{shares:?}");
        }
        let fails = |&c: &u32| if c == 7 { bail!("no {c}") } else { Ok(c) };
        let error = run(&cases, 2, |&c| f64::from(c), fails, |_| {});
        assert_eq!(error.map_err(|e| e.to_string()), Err("no 7".to_owned()));
    }
}
