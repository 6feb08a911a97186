//! A program that runs, and what it writes.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program; it is killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None: by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let stdout = Output::of(child.stdout.take().unwrap());
        let stderr = Output::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Waits for the end that it comes to by itself.
    pub(crate) async fn ended(mut self) -> Ended {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let Ok(status) = status else {
            panic!("it does not end; it wrote {:?} and {:?}", self.stdout.text(), self.stderr.text())
        };
        let (stdout, stderr) = (self.stdout.whole().await, self.stderr.whole().await);
        Ended { code: status.unwrap().code(), stdout, stderr }
    }

    /// Asks it to end, as `systemctl stop` does.
    pub(crate) async fn terminate(self) -> Ended {
        self.ask_to_end().await;
        self.ended().await
    }

    /// Asks it to end, and does not wait for that.
    pub(crate) async fn ask_to_end(&self) {
        let id = self.child.id().expect("it has ended").to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

impl Ended {
    /// What it wrote when all went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The one line with which it failed.
    #[track_caller]
    pub(crate) fn refused(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.stdout, "", "a failure is no result");
        let line = self.stderr.strip_prefix("enlace: ").and_then(|line| line.strip_suffix('\n'));
        let line = line.unwrap_or_else(|| panic!("not one line of enlace: {:?}", self.stderr));
        assert!(!line.contains('\n'), "more than one line: {line}");
        line
    }
}

/// What a program writes, while it does.
pub(crate) struct Output(watch::Receiver<String>);

impl Output {
    fn of(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (text, seen) = watch::channel(String::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                text.send_modify(|text| {
                    text.push_str(&line);
                    text.push('\n');
                });
            }
        });
        Self(seen)
    }

    pub(crate) fn text(&self) -> String {
        self.0.borrow().clone()
    }

    /// Waits until something can be found in it.
    pub(crate) async fn until<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let mut seen = self.0.clone();
        let mut found = None;
        let waiting = seen.wait_for(|text| {
            found = find(text);
            found.is_some()
        });
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => panic!("it ended without {what}; it wrote {:?}", self.text()),
            Err(_) => panic!("no {what}; it wrote {:?}", self.text()),
        }
        found.unwrap()
    }

    /// Waits for a line with these words.
    pub(crate) async fn line(&self, words: &str) -> String {
        self.until(words, |text| text.lines().find(|line| line.contains(words)).map(str::to_owned)).await
    }

    async fn whole(&mut self) -> String {
        // It fails when the stream has ended: that is waited for.
        while self.0.changed().await.is_ok() {}
        self.text()
    }
}
