//! How a test says that it is skipped.
//!
//! It writes past what the test harness holds back; `cargo xtask test` collects these lines and repeats them in its last one.

use std::io::Write as _;

/// Says that a part of the tests is left out, and why: `SKIPPED: a test with curl: install the package curl`.
pub(crate) fn skipped(what: &str, why: &str) {
    // In one piece: other tests write at the same time. Nobody may read it, and no test depends on that.
    let _ = std::io::stderr().write_all(format!("SKIPPED: {what}: {why}\n").as_bytes());
}
