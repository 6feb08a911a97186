//! A server's process.
//!
//! A test can end in ways in which nothing of it runs any more, and what is in a `static` is never dropped. So a shell stands between: when
//! its standard input closes, because the test's process is gone, it kills the server and removes the directory.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::kind::Line;

/// `$1` is the directory, the rest is the server's command. It tells the server's process id, and later that the server has ended.
const KEEPER: &str = r#"
directory=$1
shift
exec 3<&0
"$@" </dev/null >>"$directory/log" 2>&1 3<&- &
server=$!
(
    cat <&3 >/dev/null
    # Stopped, it starts nothing in place of what is killed here; and what stands still itself would outlive it.
    kill -STOP "$server"
    for stat in /proc/[0-9]*/stat; do
        read -r pid name state parent rest <"$stat" && [ "$parent" = "$server" ] && kill -KILL "$pid"
    done
    kill -KILL "$server"
    # What was killed may write its last byte yet.
    for attempt in 1 2 3 4 5; do rm -rf "$directory" && break; sleep 0.2; done
) >/dev/null 2>&1 &
watcher=$!
echo "$server"
wait "$server"
if [ "$?" = 137 ]; then wait "$watcher"; else kill "$watcher"; fi
echo ended
"#;

/// The account under which a server runs: none for this process's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// Another one when this process is root's, because servers refuse root.
    pub(crate) fn choose(preferred: &str) -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = std::fs::read_to_string("/etc/passwd").context("there is no list of accounts")?;
        let find = |name: &str| {
            accounts.lines().find_map(|line| {
                let mut fields = line.split(':');
                if fields.next() != Some(name) {
                    return None;
                }
                let uid = fields.nth(1)?.parse().ok()?;
                let gid = fields.next()?.parse().ok()?;
                Some(Self { uid, gid })
            })
        };
        let account = find(preferred).or_else(|| find("nobody"));
        account.map(Some).with_context(|| format!("there is neither an account {preferred} nor nobody"))
    }

    /// A command that runs under it.
    pub(crate) fn command(account: Option<Self>, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(Self { uid, gid }) = account {
            command.uid(uid).gid(gid);
        }
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C").current_dir("/");
        command
    }
}

/// A process with its keeper.
#[derive(Debug)]
pub(crate) struct Process {
    keeper: Child,
    /// Closed, it ends the server.
    leash: Option<ChildStdin>,
    told: BufReader<ChildStdout>,
    server: Pid,
}

impl Process {
    pub(crate) fn start(account: Option<Account>, directory: &Path, serve: &Line) -> anyhow::Result<Self> {
        let mut keeper = Account::command(account, "/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(directory)
            .args(serve)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Interrupted in a terminal, the test ends, and the leash with it.
            .process_group(0)
            .spawn()
            .context("no shell can be started")?;
        let leash = keeper.stdin.take();
        let mut told = BufReader::new(keeper.stdout.take().context("the shell has no output")?);
        let mut line = String::new();
        told.read_line(&mut line)?;
        let server =
            line.trim().parse().ok().and_then(Pid::from_raw).context("the shell told no process id")?;
        Ok(Self { keeper, leash, told, server })
    }

    pub(crate) fn id(&self) -> u32 {
        self.server.as_raw_nonzero().get().cast_unsigned()
    }

    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.keeper.try_wait()?.is_some())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.server, signal)?;
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        if line.trim() != "ended" {
            bail!("the server's keeper is gone");
        }
        self.keeper.wait()?;
        Ok(())
    }

    /// Stops or continues it with everything that it started: the parent first, so that it starts nothing in between.
    pub(crate) fn signal_all(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.server, signal)?;
        for child in children(self.server)? {
            match kill_process(child, signal) {
                // One that ended by itself.
                Err(rustix::io::Errno::SRCH) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.leash.take());
        // The keeper ends when the server has: nothing is left that could write into the directory.
        drop(self.keeper.wait());
    }
}

fn children(parent: Pid) -> anyhow::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // The name before it may have blanks and brackets: state and parent come after the last one.
        let of =
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
        if of == Some(parent.as_raw_pid()) {
            children.extend(Pid::from_raw(pid));
        }
    }
    Ok(children)
}
