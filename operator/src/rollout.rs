//! How many pods may be restarted at a time.
//!
//! A pod that is to be made from something else (a new image, another `pod` setting) is deleted by the operator, and its device counts as
//! away until it is what it was: connected again, or ready when it was not connected. The first goes alone: the others follow when it is
//! back, so many at a time. When some did not come back in time, nothing more is restarted: an image that does not work must not reach
//! every number. A device that is away itself may always be restarted again, for
//! that is how it is mended. Pure: the clock is an argument. A new leader, and so a restart of the operator, begins with nothing away; its
//! first looks at the devices find those whose pods are young.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use crate::triggers::DeviceRef;

/// After how long a device that did not come back counts as lost to the rollout: a large image may be pulled meanwhile.
pub const COME_BACK: Duration = Duration::from_secs(600);
/// After how many of these nothing more is restarted; after all that may be away at a time, when those are fewer.
pub const STOP_AFTER: usize = 3;

/// What a device was before its restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Connected to WhatsApp.
    Connected,
    /// Running, and not connected.
    Ready,
    /// Neither; it cannot become worse.
    Broken,
}

/// What a device is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now<'a> {
    /// Its pod.
    pub pod: Option<&'a str>,
    /// Whether the pod is ready.
    pub ready: bool,
    /// Whether it is connected, as this pod says.
    pub connected: bool,
}

/// Whether a device may be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may, and counts as away from now on.
    Go,
    /// Not yet: others are away.
    Wait,
    /// No more: too many did not come back.
    Stopped,
}

#[derive(Debug)]
struct Away {
    before: Before,
    old_pod: String,
    since: Timestamp,
}

impl Away {
    fn is_resumed(&self) -> bool {
        self.old_pod.is_empty()
    }

    fn is_late(&self, now: Timestamp) -> bool {
        self.since.checked_add(COME_BACK).is_ok_and(|end| end <= now)
    }
}

/// The restarts that are under way.
#[derive(Debug)]
pub struct Rollout {
    most: usize,
    /// Whether one of this rollout is back.
    proven: bool,
    away: HashMap<DeviceRef, Away>,
    waiting: VecDeque<DeviceRef>,
    in_line: HashSet<DeviceRef>,
}

impl Rollout {
    /// Nothing is under way; at most so many may be away.
    pub fn new(most: usize) -> Self {
        Self { most, proven: false, away: HashMap::new(), waiting: VecDeque::new(), in_line: HashSet::new() }
    }

    /// Forgets those of an earlier leader whose time is over: nobody knows whether they were restarted at all.
    fn forget_resumed(&mut self, now: Timestamp) {
        let before = self.away.len();
        self.away.retain(|_, away| !(away.is_resumed() && away.is_late(now)));
        if self.away.len() < before {
            self.ends();
        }
    }

    /// How many may be away.
    fn limit(&self) -> usize {
        if self.proven { self.most } else { self.most.min(1) }
    }

    /// Whether a device may be restarted now. Only to be asked by who will do it.
    pub fn restart(&mut self, device: &DeviceRef, pod: &str, before: Before, now: Timestamp) -> Decision {
        self.forget_resumed(now);
        if let Some(away) = self.away.get_mut(device) {
            // What an earlier leader restarted was taken for ready; now it is known.
            if away.is_resumed() {
                away.before = before;
            }
            // Its time runs on, so that a device which is restarted over and over is not always young.
            pod.clone_into(&mut away.old_pod);
            return Decision::Go;
        }
        let decision = if self.is_stopped(now) {
            Decision::Stopped
        } else if self.away.len() >= self.limit() {
            Decision::Wait
        } else {
            self.away.insert(device.clone(), Away { before, old_pod: pod.to_owned(), since: now });
            return Decision::Go;
        };
        if self.in_line.insert(device.clone()) {
            self.waiting.push_back(device.clone());
        }
        decision
    }

    /// Takes note of what a device is now.
    pub fn observe(&mut self, device: &DeviceRef, now: &Now<'_>) {
        let Some(away) = self.away.get(device) else { return };
        let (Away { before, old_pod, since: _ }, resumed) = (away, away.is_resumed());
        if now.pod.is_none_or(|pod| pod == old_pod) {
            return;
        }
        let back = match before {
            Before::Connected => now.connected,
            Before::Ready => now.ready,
            Before::Broken => true,
        };
        if back {
            // One that could not become worse proves nothing, nor does one of which it is not known what it was.
            self.proven |= *before != Before::Broken && !resumed;
            self.away.remove(device);
            self.ends();
        }
    }

    /// Notes a device that an earlier leader seems to have restarted.
    pub fn resume(&mut self, device: &DeviceRef, before: Before, since: Timestamp) {
        let away = || Away { before, old_pod: String::new(), since };
        self.away.entry(device.clone()).or_insert_with(away);
    }

    /// Forgets a device that is not to run any more.
    pub fn forget(&mut self, device: &DeviceRef) {
        self.away.remove(device);
        if self.in_line.remove(device) {
            self.waiting.retain(|other| other != device);
        }
        self.ends();
    }

    /// When nothing is under way any more, what comes is another rollout.
    fn ends(&mut self) {
        if self.away.is_empty() && self.waiting.is_empty() {
            self.proven = false;
        }
    }

    /// Those that may ask again now, as many as there is room for.
    pub fn next(&mut self, now: Timestamp) -> Vec<DeviceRef> {
        self.forget_resumed(now);
        if self.is_stopped(now) {
            return Vec::new();
        }
        let room = self.limit().saturating_sub(self.away.len()).min(self.waiting.len());
        let next: Vec<DeviceRef> = self.waiting.drain(..room).collect();
        for device in &next {
            self.in_line.remove(device);
        }
        next
    }

    /// Whether too many did not come back.
    pub fn is_stopped(&self, now: Timestamp) -> bool {
        let enough = STOP_AFTER.min(self.limit()).max(1);
        self.late(now).take(enough).count() == enough
    }

    /// Those that did not come back.
    pub fn late(&self, now: Timestamp) -> impl Iterator<Item = &DeviceRef> {
        let late =
            move |away: &Away| away.before != Before::Broken && !away.is_resumed() && away.is_late(now);
        self.away.iter().filter(move |(_, away)| late(away)).map(|(device, _)| device)
    }

    /// How many are away, wait, and are late.
    pub fn counts(&self, now: Timestamp) -> BTreeMap<&'static str, usize> {
        [("away", self.away.len()), ("waiting", self.waiting.len()), ("late", self.late(now).count())].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triggers::device_ref;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_900_000_000 + second).unwrap()
    }

    fn device(number: usize) -> DeviceRef {
        device_ref("shop", &format!("device-{number}"))
    }

    fn back(pod: &str) -> Now<'_> {
        Now { pod: Some(pod), ready: true, connected: true }
    }

    #[test]
    fn rollout_budget_never_exceeded() {
        // Devices ask, come back and ask again in an order that a simple generator makes; the seed makes it the same each time.
        let mut seed = 7_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for most in 1..6 {
            let mut rollout = Rollout::new(most);
            let mut away: HashSet<usize> = HashSet::new();
            for second in 0..2_000 {
                let one = usize::try_from(random(20)).unwrap();
                if random(2) == 0 {
                    let asked = rollout.restart(&device(one), "old", Before::Connected, at(second / 10));
                    assert!(asked != Decision::Stopped);
                    if asked == Decision::Go {
                        away.insert(one);
                    }
                } else if away.remove(&one) {
                    rollout.observe(&device(one), &back("new"));
                }
                assert!(away.len() <= most, "{} away of {most}", away.len());
            }
        }
    }

    /// A rollout of which the first is back, and others wait.
    fn proven(most: usize) -> Rollout {
        let mut rollout = Rollout::new(most);
        assert_eq!(rollout.restart(&device(100), "old", Before::Connected, at(0)), Decision::Go);
        assert_eq!(rollout.restart(&device(101), "old", Before::Connected, at(0)), Decision::Wait);
        rollout.observe(&device(100), &back("new"));
        rollout
    }

    #[test]
    fn the_first_goes_alone_and_others_follow_when_it_is_back() {
        let mut rollout = Rollout::new(3);
        let ask = |rollout: &mut Rollout, one, second| {
            rollout.restart(&device(one), "old", Before::Connected, at(second))
        };
        assert_eq!(ask(&mut rollout, 1, 0), Decision::Go);
        for one in 2..7 {
            assert_eq!(ask(&mut rollout, one, 0), Decision::Wait);
        }
        assert!(rollout.next(at(1)).is_empty());
        rollout.observe(&device(1), &back("new"));
        assert_eq!(rollout.next(at(2)), [2, 3, 4].map(device));
        for one in 2..5 {
            assert_eq!(ask(&mut rollout, one, 2), Decision::Go);
            rollout.observe(&device(one), &back("new"));
        }
        assert_eq!(rollout.next(at(3)), [5, 6].map(device));
        for one in 5..7 {
            assert_eq!(ask(&mut rollout, one, 3), Decision::Go);
        }
        for one in 5..7 {
            rollout.observe(&device(one), &back("new"));
        }
        // The next rollout begins with one again, and ends with it when it does not come back.
        assert_eq!((ask(&mut rollout, 1, 10), ask(&mut rollout, 2, 10)), (Decision::Go, Decision::Wait));
        assert!(rollout.is_stopped(at(610)));
        assert_eq!(ask(&mut rollout, 3, 610), Decision::Stopped);
    }

    #[test]
    fn a_device_is_back_when_it_is_what_it_was() {
        let ready = Now { pod: Some("new"), ready: true, connected: false };
        let same_pod = back("old");
        let no_pod = Now { pod: None, ready: false, connected: false };
        let new_pod = Now { pod: Some("new"), ready: false, connected: false };
        for (before, now, is_back) in [
            (Before::Connected, &ready, false),
            (Before::Connected, &back("new"), true),
            (Before::Connected, &same_pod, false),
            (Before::Ready, &ready, true),
            (Before::Ready, &new_pod, false),
            (Before::Ready, &no_pod, false),
            (Before::Broken, &new_pod, true),
        ] {
            let mut rollout = Rollout::new(1);
            assert_eq!(rollout.restart(&device(1), "old", before, at(0)), Decision::Go);
            rollout.observe(&device(1), now);
            let free = rollout.restart(&device(2), "old", before, at(1)) == Decision::Go;
            assert_eq!(free, is_back, "{before:?} {now:?}");
        }
    }

    #[test]
    fn nothing_more_is_restarted_when_some_did_not_come_back() {
        let mut rollout = proven(5);
        for one in 0..STOP_AFTER {
            assert_eq!(rollout.restart(&device(one), "old", Before::Ready, at(0)), Decision::Go);
        }
        assert_eq!(rollout.restart(&device(9), "old", Before::Ready, at(599)), Decision::Go);
        assert_eq!(rollout.restart(&device(8), "old", Before::Ready, at(600)), Decision::Stopped);
        assert!(rollout.next(at(600)).is_empty());
        // One of them is mended: it may be restarted, and when it is back the others go on.
        assert_eq!(rollout.restart(&device(0), "second", Before::Broken, at(700)), Decision::Go);
        rollout.observe(&device(0), &back("third"));
        assert!(!rollout.is_stopped(at(700)));
        assert_eq!(rollout.next(at(700)), vec![device(101), device(8)]);
    }

    #[test]
    fn a_rollout_of_few_at_a_time_stops_and_does_not_wait_for_ever() {
        for most in 1..STOP_AFTER {
            let mut rollout = proven(most);
            for one in 0..most {
                assert_eq!(rollout.restart(&device(one), "old", Before::Ready, at(0)), Decision::Go);
            }
            assert_eq!(rollout.restart(&device(9), "old", Before::Ready, at(599)), Decision::Wait);
            assert_eq!(
                rollout.restart(&device(9), "old", Before::Ready, at(600)),
                Decision::Stopped,
                "{most}"
            );
            rollout.observe(&device(0), &back("new"));
            assert_eq!(rollout.next(at(600)), vec![device(101)]);
        }
    }

    #[test]
    fn what_an_earlier_leader_may_have_restarted_counts_for_a_while_and_stops_nothing() {
        let mut rollout = Rollout::new(STOP_AFTER);
        for one in 0..STOP_AFTER {
            rollout.resume(&device(one), Before::Ready, at(0));
        }
        assert_eq!(rollout.restart(&device(9), "old", Before::Ready, at(599)), Decision::Wait);
        assert!(!rollout.is_stopped(at(600)));
        assert_eq!(rollout.next(at(600)), vec![device(9)]);
    }

    #[test]
    fn one_that_never_worked_stops_nothing() {
        let mut rollout = Rollout::new(3);
        rollout.resume(&device(1), Before::Ready, at(0));
        assert_eq!(rollout.restart(&device(1), "old", Before::Broken, at(300)), Decision::Go);
        assert_eq!(rollout.restart(&device(2), "old", Before::Ready, at(300)), Decision::Wait);
        assert!(!rollout.is_stopped(at(600)));
        rollout.observe(&device(1), &Now { pod: Some("new"), ready: false, connected: false });
        assert_eq!(rollout.next(at(601)), vec![device(2)]);
    }

    #[test]
    fn those_that_wait_are_named_once_there_is_room() {
        let mut rollout = Rollout::new(1);
        assert_eq!(rollout.restart(&device(1), "old", Before::Ready, at(0)), Decision::Go);
        for _ in 0..2 {
            assert_eq!(rollout.restart(&device(2), "old", Before::Ready, at(0)), Decision::Wait);
            assert_eq!(rollout.restart(&device(3), "old", Before::Ready, at(0)), Decision::Wait);
        }
        assert!(rollout.next(at(1)).is_empty());
        rollout.forget(&device(1));
        assert_eq!(rollout.next(at(1)), vec![device(2)]);
        rollout.forget(&device(3));
        assert!(rollout.next(at(1)).is_empty());
    }
}
