//! Waiting for a condition with a deadline; never for a time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` holds; panics with `what` if it does not before the deadline.
#[track_caller]
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let outcome = try_wait_for(deadline, what, || Ok(condition().then_some(())));
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// Waits until `look` gives a value. An error of `look` is taken as "not yet" and told in the end.
pub fn try_wait_for<T>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let seen = look();
        if let Ok(Some(value)) = seen {
            return Ok(value);
        }
        if started.elapsed() >= deadline {
            let waited = format!("waited {deadline:?} in vain until {what}");
            match seen {
                Err(error) => return Err(error).context(waited),
                Ok(_) => bail!(waited),
            }
        }
        thread::sleep(PAUSE);
    }
}
