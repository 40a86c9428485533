//! How many requests may be sent again, so that retries never become the storm that keeps a service down.

use std::cell::Cell;

/// What a retry costs.
const RETRY: u64 = 100;

/// Retries that there are from the start, and that come back, one a second, however few requests there are.
const FLOOR: u64 = 10;

/// Most retries that are saved up.
const MOST: u64 = 100;

/// One upstream's budget in one worker: each request pays its percents in, each retry takes a whole one out.
pub(super) struct Budget {
    saved: Cell<u64>,
    /// When the floor was last refilled, in the worker's milliseconds.
    refilled: Cell<u64>,
}

impl Budget {
    pub(super) fn new(now_ms: u64) -> Self {
        Budget {
            saved: Cell::new(FLOOR * RETRY),
            refilled: Cell::new(now_ms),
        }
    }

    /// A request was made, of which this many percent may be sent again.
    pub(super) fn pay_in(&self, percent: u32) {
        let saved = self.saved.get() + u64::from(percent);
        self.saved.set(saved.min(MOST * RETRY));
    }

    /// Whether a retry may be made; it is paid for by that.
    pub(super) fn take(&self, now_ms: u64) -> bool {
        let seconds = now_ms.saturating_sub(self.refilled.get()) / 1000;
        let mut saved = self.saved.get();
        if seconds > 0 {
            self.refilled.set(self.refilled.get() + seconds * 1000);
            let most = (FLOOR * RETRY).max(saved);
            saved = saved.saturating_add(seconds * RETRY).min(most);
        }
        let paid = saved.checked_sub(RETRY);
        self.saved.set(paid.unwrap_or(saved));
        paid.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_long_run_retries_are_the_share_of_requests_and_the_floor() {
        let budget = Budget::new(0);
        let mut retries = 0;
        for request in 0..10_000u64 {
            budget.pay_in(20);
            // A hundred requests a second, each of which would be sent again.
            retries += u64::from(budget.take(request * 10));
        }
        assert_eq!(retries, 10 + 2000 + 99);
    }

    #[test]
    fn no_more_is_saved_up_than_the_bound() {
        let budget = Budget::new(0);
        for _ in 0..100_000 {
            budget.pay_in(20);
        }
        let at_once = (0..1000).filter(|_| budget.take(0)).count();
        assert_eq!(at_once, 100);
        let after_an_hour = (0..1000).filter(|_| budget.take(3_600_000)).count();
        assert_eq!(after_an_hour, 10);
    }
}
