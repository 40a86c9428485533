//! What this machine lets a run have, and what the run took of it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Descriptors besides those of connections: files, pollers, timers.
const OTHERS: u64 = 64;

/// The system gives fewer descriptors than the connections need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{connections} connections need {needed} descriptors and this process may have {most}: raise that first (`ulimit -Hn {needed}` as root, or LimitNOFILE), or take fewer connections"
)]
pub struct TooFewDescriptors {
    connections: usize,
    needed: u64,
    most: u64,
}

/// Raises the limit of descriptors as far as that many connections need.
pub(super) fn allow_connections(connections: usize) -> Result<(), TooFewDescriptors> {
    let needed = connections as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let wanted = Rlimit {
        current: Some(needed),
        maximum: limit.maximum,
    };
    let may = limit.maximum.is_none_or(|most| most >= needed);
    if may && setrlimit(Resource::Nofile, wanted).is_ok() {
        return Ok(());
    }
    Err(TooFewDescriptors {
        connections,
        needed,
        most: limit.maximum.unwrap_or(needed - 1),
    })
}

/// Processor time that the calling thread has taken.
pub(super) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_connections_are_refused_with_the_way_out() {
        assert_eq!(allow_connections(1), Ok(()));
        if let Err(error) = allow_connections(usize::MAX / 2) {
            assert!(error.to_string().contains("ulimit"), "{error}");
        }
    }
}
