//! What a connected device costs while nothing happens, as the kernel counts it (proc(5)).

use std::time::Duration;

use anyhow::{Context as _, bail};
use enlace_contract::duration::Period;

use crate::series::{Series, Unit};
use crate::status::Status;
use crate::world::Device;

/// Lets a connected device rest, then reads its memory and what it used of the processor meanwhile.
///
/// # Errors
/// It does not stay connected.
pub(crate) async fn measure(device: &mut Device, idle: Period) -> anyhow::Result<Vec<Series>> {
    eprintln!("Letting the device rest for {idle}");
    let process = device.id()?;
    let before = cpu_time(process)?;
    // Nothing tells that nothing happened: this is the one wait for a time.
    tokio::select! {
        phase = device.events.until_not_connected() => bail!("the device is {} instead of connected", phase?),
        () = tokio::time::sleep(idle.get()) => {}
    }
    let used = cpu_time(process)?.saturating_sub(before);
    let status = Status::of(process)?;
    Ok(vec![
        Series::single(
            "idleRss",
            format!("memory, {idle} connected and idle (VmRSS)"),
            Unit::bytes(status.resident),
        ),
        Series::single("idleRssAnon", "of it its own, not of files (RssAnon)", Unit::bytes(status.anonymous)),
        Series::single("idleThreads", "threads", (Unit::Count, f64::from(status.threads))),
        Series::single(
            "idleCpu",
            format!("CPU time in these {idle} (in steps of {} ms)", 1_000 / ticks_per_second()?),
            Unit::time(used),
        ),
    ])
}

/// The memory of a device that has carried messages.
///
/// # Errors
/// It has ended.
pub(crate) fn afterwards(device: &Device) -> anyhow::Result<Series> {
    let status = Status::of(device.id()?)?;
    Ok(Series::single("busyRss", "memory after all messages (VmRSS)", Unit::bytes(status.resident)))
}

fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    let ticks = ticks(&std::fs::read_to_string(format!("/proc/{process}/stat"))?)?;
    Ok(Duration::from_secs(ticks) / ticks_per_second()?)
}

/// How finely the kernel counts, 100 on most machines.
fn ticks_per_second() -> anyhow::Result<u32> {
    Ok(u32::try_from(rustix::param::clock_ticks_per_second())?)
}

/// `utime` and `stime` of `/proc/PID/stat`, fields 14 and 15. The name, field 2, can have spaces and brackets in it.
fn ticks(stat: &str) -> anyhow::Result<u64> {
    let (_, after_name) = stat.rsplit_once(')').context("/proc/PID/stat is of another form")?;
    let times = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(times.collect::<Result<Vec<_>, _>>()?.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_are_added_whatever_the_name_is() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 0 0 120 30 0 0 20 0 4 0 100 0 0";
        assert_eq!(ticks(stat).unwrap(), 150);
    }
}
