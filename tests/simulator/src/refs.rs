//! The lifetimes of QR refs.
//!
//! The server gives a companion all its refs at once; the companion shows them one after the other. Each
//! ref is good until its own turn is over, counted from the moment they were sent.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// How long the first ref of the real server lives.
pub(crate) const FIRST_LIFETIME: Duration = Duration::from_secs(60);
/// How long each later ref of the real server lives.
pub(crate) const NEXT_LIFETIME: Duration = Duration::from_secs(20);

/// What the server says to a ref that a phone scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Valid,
    Expired,
    Unknown,
}

/// The refs of one pairing companion, with the time each one ends.
#[derive(Debug, Clone)]
pub(crate) struct Refs(Vec<(String, Instant)>);

impl Refs {
    /// Makes `count` refs, sent at `now`; none lives longer than `longest`.
    pub(crate) fn issue(count: usize, longest: Duration, now: Instant) -> Self {
        let mut end = now;
        Self(
            (0..count)
                .map(|index| {
                    end += longest.min(if index == 0 { FIRST_LIFETIME } else { NEXT_LIFETIME });
                    (format!("2@{}{index}", BASE64_STANDARD.encode(crate::phone::random::<48>())), end)
                })
                .collect(),
        )
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(text, _)| text.as_str())
    }

    pub(crate) fn judge(&self, text: &str, now: Instant) -> Verdict {
        match self.0.iter().find(|(known, _)| known == text) {
            Some((_, end)) if now < *end => Verdict::Valid,
            Some(_) => Verdict::Expired,
            None => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ref_ends_with_its_own_turn() {
        let start = Instant::now();
        let refs = Refs::issue(3, FIRST_LIFETIME, start);
        let texts: Vec<&str> = refs.texts().collect();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(refs.judge(texts[0], at(59)), Verdict::Valid);
        assert_eq!(refs.judge(texts[0], at(60)), Verdict::Expired);
        assert_eq!(refs.judge(texts[1], at(79)), Verdict::Valid);
        assert_eq!(refs.judge(texts[1], at(80)), Verdict::Expired);
        assert_eq!(refs.judge(texts[2], at(99)), Verdict::Valid);
        assert_eq!(refs.judge(texts[2], at(100)), Verdict::Expired);
        assert_eq!(refs.judge("2@nobody", at(1)), Verdict::Unknown);
    }

    #[test]
    fn a_shorter_lifetime_shortens_every_ref() {
        let start = Instant::now();
        let refs = Refs::issue(2, Duration::from_secs(1), start);
        let texts: Vec<&str> = refs.texts().collect();
        assert_eq!(refs.judge(texts[0], start + Duration::from_secs(1)), Verdict::Expired);
        assert_eq!(refs.judge(texts[1], start + Duration::from_millis(1900)), Verdict::Valid);
        assert_eq!(refs.judge(texts[1], start + Duration::from_secs(2)), Verdict::Expired);
    }
}
