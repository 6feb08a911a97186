//! The devices that are known, and what changed after a moment.
//!
//! Every change has a number, one higher than the one before. A device remembers the number of its last change, so whoever has followed up to
//! a number is told what came after it without anything being kept for each reader, and a slow reader gets the newest of each device.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use enlace_contract::name::DeviceKey;
use enlace_contract::number::CanonicalNumber;
use enlace_crds::rules::conditions::{ACCEPTED, DUPLICATE_NUMBER};

use crate::directory::{Device, DeviceChange};

/// Devices that are gone and remembered for slow readers; one that is further behind is cut off and begins anew.
const GONE: usize = 4096;

/// The devices, by key and by number.
#[derive(Debug, Default)]
pub(super) struct Table {
    devices: BTreeMap<DeviceKey, Seat>,
    numbers: HashMap<CanonicalNumber, BTreeSet<DeviceKey>>,
    /// Which device changed with which number.
    changed: BTreeMap<u64, DeviceKey>,
    gone: BTreeMap<u64, Gone>,
    /// The newest change.
    now: u64,
    /// Up to here, what is gone is forgotten.
    forgotten: u64,
}

#[derive(Debug)]
struct Seat {
    device: Arc<Device>,
    added: u64,
    changed: u64,
}

#[derive(Debug)]
struct Gone {
    device: Arc<Device>,
    added: u64,
}

/// What came after a moment.
#[derive(Debug)]
pub(super) struct News {
    pub(super) changes: Vec<DeviceChange>,
    /// The moment after them.
    pub(super) upto: u64,
}

impl Table {
    /// Takes a device in. False: it is known like this.
    pub(super) fn put(&mut self, device: Device) -> bool {
        let key = device.key.clone();
        if let Some(seat) = self.devices.get(&key) {
            let (old, new) = (&seat.device.resource.metadata, &device.resource.metadata);
            if *seat.device == device {
                return false;
            }
            if old.uid != new.uid {
                // It was deleted and created again: another device.
                self.remove(&key);
            }
        }
        self.now += 1;
        let device = Arc::new(device);
        if let Some(number) = device.number() {
            self.numbers.entry(number).or_default().insert(key.clone());
        }
        let added = self.devices.get(&key).map_or(self.now, |seat| seat.added);
        let seat = Seat { device: Arc::clone(&device), added, changed: self.now };
        if let Some(before) = self.devices.insert(key.clone(), seat) {
            self.changed.remove(&before.changed);
            if before.device.number() != device.number() {
                self.forget_number(&before.device);
            }
        }
        self.changed.insert(self.now, key);
        true
    }

    /// Lets a device go. False: it was not known.
    pub(super) fn remove(&mut self, key: &DeviceKey) -> bool {
        let Some(Seat { device, added, changed }) = self.devices.remove(key) else { return false };
        self.changed.remove(&changed);
        self.forget_number(&device);
        self.now += 1;
        self.gone.insert(self.now, Gone { device, added });
        if self.gone.len() > GONE
            && let Some((number, _)) = self.gone.pop_first()
        {
            self.forgotten = number;
        }
        true
    }

    fn forget_number(&mut self, device: &Device) {
        let Some(number) = device.number() else { return };
        if let Some(keys) = self.numbers.get_mut(&number) {
            keys.remove(&device.key);
            if keys.is_empty() {
                self.numbers.remove(&number);
            }
        }
    }

    /// Keeps only devices of which this is true; whether some went.
    pub(super) fn retain(&mut self, keep: impl Fn(&DeviceKey) -> bool) -> bool {
        let gone: Vec<DeviceKey> = self.devices.keys().filter(|key| !keep(key)).cloned().collect();
        for key in &gone {
            self.remove(key);
        }
        !gone.is_empty()
    }

    pub(super) fn get(&self, key: &DeviceKey) -> Option<&Arc<Device>> {
        self.devices.get(key).map(|seat| &seat.device)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Device>> {
        self.devices.values().map(|seat| &seat.device)
    }

    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    /// The device of a number: the one that has it, by the operator's word. One that the operator has not decided on, or whose spec cannot be
    /// followed, has the number in its declaration only and comes after it; a duplicate comes last.
    pub(super) fn of_number(&self, number: &CanonicalNumber) -> Option<&Arc<Device>> {
        let devices = self.numbers.get(number).into_iter().flatten().filter_map(|key| self.get(key));
        devices.min_by_key(|device| {
            let status = device.resource.status.as_ref();
            // Of a number that was declared since, the word says nothing.
            let says = status.is_some_and(|status| status.phone_number.is_some());
            let account = status.and_then(|status| status.account.as_ref());
            match status.and_then(|status| status.condition(ACCEPTED)) {
                Some(accepted) if accepted.status == "True" && says => 0,
                Some(accepted) if accepted.reason == DUPLICATE_NUMBER => 3,
                // Its spec was broken after its phone was linked.
                _ if account.is_some_and(|account| account.phone_number.canonical() == *number) => 1,
                _ => 2,
            }
        })
    }

    /// What came after a moment, 0 for all that is there; none when what is gone since then is no longer known.
    pub(super) fn after(&self, moment: u64) -> Option<News> {
        if moment != 0 && moment < self.forgotten {
            return None;
        }
        let later = (std::ops::Bound::Excluded(moment), std::ops::Bound::Unbounded);
        // One that came and went in between is no news.
        let gone = self.gone.range(later).filter(|(_, gone)| gone.added <= moment);
        let mut changes: Vec<_> =
            gone.map(|(_, gone)| DeviceChange::Deleted(Arc::clone(&gone.device))).collect();
        for key in self.changed.range(later).map(|(_, key)| key) {
            let Some(Seat { device, added, changed: _ }) = self.devices.get(key) else { continue };
            let device = Arc::clone(device);
            changes.push(match *added > moment {
                true => DeviceChange::Added(device),
                false => DeviceChange::Changed(device),
            });
        }
        Some(News { changes, upto: self.now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Managed;
    use enlace_crds::{WhatsAppDevice, WhatsAppDeviceSpec};

    fn device(name: &str, uid: &str, number: Option<&str>) -> Device {
        let spec =
            WhatsAppDeviceSpec { phone_number: number.map(str::to_owned), ..WhatsAppDeviceSpec::default() };
        let mut resource = WhatsAppDevice::new(name, spec);
        resource.metadata.uid = Some(uid.to_owned());
        Device { key: name.parse().unwrap(), resource, managed: Managed::ByApi }
    }

    fn told(news: Option<News>) -> Vec<String> {
        let word = |change: &DeviceChange| match change {
            DeviceChange::Added(device) => format!("+{}", device.key.name()),
            DeviceChange::Changed(device) => format!("~{}", device.key.name()),
            DeviceChange::Deleted(device) => format!("-{}", device.key.name()),
        };
        news.unwrap().changes.iter().map(word).collect()
    }

    #[test]
    fn a_reader_is_told_what_came_after_its_moment_and_only_the_newest_of_each() {
        let mut table = Table::default();
        for name in ["a", "b", "c"] {
            assert!(table.put(device(name, name, None)));
        }
        assert_eq!(told(table.after(0)), ["+a", "+b", "+c"]);
        let moment = table.after(0).unwrap().upto;
        assert!(!table.put(device("a", "a", None)), "nothing about it changed");
        assert_eq!(told(table.after(moment)), [""; 0]);
        table.put(device("b", "b", Some("525550000001")));
        table.put(device("b", "b", Some("525550000002")));
        table.remove(&"a".parse().unwrap());
        table.put(device("d", "d", None));
        table.remove(&"d".parse().unwrap());
        assert_eq!(told(table.after(moment)), ["-a", "~b"]);
        assert_eq!(told(table.after(0)), ["+c", "+b"]);
    }

    #[test]
    fn a_device_that_was_created_again_is_another_one() {
        let mut table = Table::default();
        table.put(device("a", "1", None));
        let moment = table.after(0).unwrap().upto;
        table.put(device("a", "2", None));
        assert_eq!(told(table.after(moment)), ["-a", "+a"]);
    }

    #[test]
    fn a_reader_that_is_too_far_behind_is_told_so() {
        let mut table = Table::default();
        table.put(device("a", "a", None));
        let moment = table.after(0).unwrap().upto;
        for _ in 0..=GONE {
            table.put(device("b", "b", None));
            table.remove(&"b".parse().unwrap());
        }
        assert!(table.after(moment).is_none());
        assert_eq!(told(table.after(0)), ["+a"]);
        assert_eq!(table.gone.len(), GONE);
    }

    #[test]
    fn a_number_leads_to_its_device_in_any_form_and_follows_a_change() {
        let mut table = Table::default();
        let number = |text: &str| text.parse::<enlace_contract::number::PhoneNumber>().unwrap().canonical();
        let found =
            |table: &Table, text: &str| table.of_number(&number(text)).map(|d| d.key.name().to_owned());
        table.put(device("a", "a", Some("525550000001")));
        assert_eq!(found(&table, "5215550000001").as_deref(), Some("a"));
        table.put(device("a", "a", Some("525550000002")));
        assert_eq!(found(&table, "525550000001"), None);
        assert_eq!(found(&table, "525550000002").as_deref(), Some("a"));
        table.remove(&"a".parse().unwrap());
        assert_eq!(found(&table, "525550000002"), None);
        assert!(table.numbers.is_empty());
    }

    #[test]
    fn a_number_leads_to_the_device_that_has_it_and_not_to_one_that_only_declares_it() {
        let number = "525550000001".parse::<enlace_contract::number::PhoneNumber>().unwrap().canonical();
        let decided = |name: &str, status: &str, reason: &str| {
            let mut device = device(name, name, Some("525550000001"));
            let status = serde_json::json!({
                "phoneNumber": "525550000001",
                "conditions": [{
                    "type": ACCEPTED, "status": status, "reason": reason, "message": "",
                    "lastTransitionTime": "2030-01-01T00:00:00Z",
                }],
            });
            device.resource.status = Some(serde_json::from_value(status).unwrap());
            device
        };
        let new = device("a", "a", Some("525550000001"));
        let invalid = decided("b", "False", "InvalidSpec");
        let duplicate = decided("c", "False", DUPLICATE_NUMBER);
        let mut changed = decided("d", "True", ACCEPTED);
        changed.resource.status.as_mut().unwrap().phone_number = None;
        let mut broken = decided("e", "False", "InvalidSpec");
        let account = serde_json::json!({ "phoneNumber": "525550000001", "jid": "jid" });
        broken.resource.status.as_mut().unwrap().account = Some(serde_json::from_value(account).unwrap());
        let holder = decided("f", "True", ACCEPTED);
        // From the last to the first: each one is there beside those that come after it.
        let ranks =
            [(duplicate, "c"), (invalid, "b"), (new, "a"), (changed, "a"), (broken, "e"), (holder, "f")];
        let mut table = Table::default();
        for (device, found) in ranks {
            table.put(device);
            assert_eq!(table.of_number(&number).map(|device| device.key.name()), Some(found));
        }
    }
}
