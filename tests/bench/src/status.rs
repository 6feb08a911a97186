//! What the kernel says of a process's memory and threads (proc(5)).

use anyhow::Context as _;

/// Of `/proc/PID/status`; sizes in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Memory that is in use, pages of files among it.
    pub(crate) resident: u64,
    /// Of it its own: of no file.
    pub(crate) anonymous: u64,
    pub(crate) threads: u32,
}

impl Status {
    /// Of a process.
    ///
    /// # Errors
    /// It has ended, or the kernel says something else than proc(5).
    pub(crate) fn of(process: u32) -> anyhow::Result<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{process}/status"))?)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next())
                .with_context(|| format!("the kernel does not say {name}"))
        };
        // The kernel's kB is 1,024 bytes.
        let size = |name| anyhow::Ok(value(name)?.parse::<u64>()? * 1_024);
        Ok(Self {
            resident: size("VmRSS")?,
            anonymous: size("RssAnon")?,
            threads: value("Threads")?.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_read_in_bytes() {
        let text = "Name:\tdevice-pod\nVmRSS:\t   20480 kB\nRssAnon:\t    1024 kB\nThreads:\t5\n";
        let status = Status { resident: 20 << 20, anonymous: 1 << 20, threads: 5 };
        assert_eq!(Status::parse(text).unwrap(), status);
        let error = Status::parse("VmRSS:\t1 kB\n").unwrap_err();
        assert_eq!(error.to_string(), "the kernel does not say RssAnon");
    }
}
