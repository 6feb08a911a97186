//! What a process used, as the kernel counts it (proc(5)).

use std::time::Duration;

use anyhow::Context as _;

/// A process.
#[derive(Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

/// What the processes of a server used for some requests.
pub(crate) struct Used {
    pub(crate) requests: u32,
    pub(crate) took: Duration,
    /// Of each process.
    pub(crate) cpu: Vec<Duration>,
}

impl Process {
    /// The time on processors since it began, in steps of the kernel's ticks.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).context("a server has ended")?;
        // The name, field 2, can have spaces and brackets in it; `utime` and `stime` are fields 14 and 15.
        let (_, after_name) = stat.rsplit_once(')').context("/proc/PID/stat is of another form")?;
        let times = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = times.collect::<Result<Vec<_>, _>>()?.iter().sum();
        Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.0)).context("a server has ended")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        // The kernel's kB is 1,024 bytes.
        Ok(line.context("the kernel does not say VmRSS")?.parse::<u64>()? * 1024)
    }
}

impl Used {
    /// Processor time of a request, in microseconds, of the first so many processes.
    pub(crate) fn cpu_us(&self, processes: usize) -> f64 {
        let cpu: Duration = self.cpu.iter().take(processes).sum();
        cpu.as_secs_f64() * 1e6 / f64::from(self.requests)
    }

    /// Requests in a second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.requests) / self.took.as_secs_f64()
    }
}
