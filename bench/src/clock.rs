//! Clocks that two processes of one machine share, or that say what one of them used.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// us since some moment, the same for every process of this machine.
pub fn monotonic_us() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

/// Seconds that this process has computed for, all threads together.
pub fn process_cpu_s() -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
    tv_sec as f64 + tv_nsec as f64 * 1e-9
}
