//! The CPU time that a process under test has taken.

use std::fs;

use super::{Outcome, Proxy};

/// Jiffies of /proc, per second; fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of the whole process (proc(5), /proc/pid/stat fields 14 and 15).
pub(crate) fn seconds(proxy: &Proxy) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", proxy.process.id()))?;
    let fields = stat.rsplit_once(')').ok_or("stat")?.1;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>().unwrap_or(0.0))
        .sum();
    Ok(ticks / TICKS_PER_SECOND)
}

/// The median and, after it, the least and the most.
pub(crate) fn spread(measured: &mut [f64]) -> (f64, f64, f64) {
    measured.sort_by(f64::total_cmp);
    (measured[measured.len() / 2], measured[0], measured[measured.len() - 1])
}
