//! The phone's app-state key and the patch that carries the account's push name.

use anyhow::{Context, Result};
use buffa::MessageField;
use wacore_appstate::hash::{HashState, generate_patch_mac};
use wacore_appstate::keys::expand_app_state_keys;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::{
    AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId,
    AppStateSyncKeyShare, ProtocolMessage, protocol_message,
};

use super::{Phone, random};

/// The key's age; clients only compare it.
const KEY_TIME_S: i64 = 1_700_000_000;
const COLLECTION: &str = "critical_block";

impl Phone {
    /// The message that gives a companion the account's app-state key.
    pub(super) fn key_share(&self) -> wa::Message {
        let key = AppStateSyncKey {
            key_id: MessageField::some(AppStateSyncKeyId { key_id: Some(self.app_key_id.clone()) }),
            key_data: MessageField::some(AppStateSyncKeyData {
                key_data: Some(self.app_key.clone()),
                fingerprint: MessageField::some(AppStateSyncKeyFingerprint {
                    raw_id: Some(self.raw_id),
                    current_index: Some(0),
                    device_indexes: vec![0],
                }),
                timestamp: Some(KEY_TIME_S),
            }),
        };
        wa::Message {
            protocol_message: MessageField::some(ProtocolMessage {
                r#type: Some(protocol_message::Type::AppStateSyncKeyShare),
                app_state_sync_key_share: MessageField::some(AppStateSyncKeyShare { keys: vec![key] }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// The first patch (version 1) of `critical_block`: the push name.
    pub(crate) fn push_name_patch(&self, name: &str) -> Result<Vec<u8>> {
        let keys = expand_app_state_keys(&self.app_key);
        let setting = wa::sync_action_value::PushNameSetting { name: Some(name.to_owned()) };
        let value = wa::SyncActionValue {
            push_name_setting: MessageField::some(setting),
            timestamp: Some(jiff::Timestamp::now().as_millisecond()),
            ..Default::default()
        };
        let (mutation, _) = wacore_appstate::encode::encode_record(
            wa::syncd_mutation::SyncdOperation::SET,
            b"[\"setting_pushName\"]",
            &value,
            &keys,
            &self.app_key_id,
            &random::<16>(),
            1,
        );
        let mut state = HashState { version: 1, ..Default::default() };
        state.update_hash(std::slice::from_ref(&mutation), |_, _| Ok(None)).1.context("hash the patch")?;
        let mut patch = wa::SyncdPatch {
            version: MessageField::some(wa::SyncdVersion { version: Some(1) }),
            mutations: vec![mutation],
            snapshot_mac: Some(state.generate_snapshot_mac(COLLECTION, &keys.snapshot_mac)),
            key_id: MessageField::some(wa::KeyId { id: Some(self.app_key_id.clone()) }),
            device_index: Some(0),
            ..Default::default()
        };
        patch.patch_mac = Some(generate_patch_mac(&patch, COLLECTION, &keys.patch_mac, 1));
        Ok(waproto::codec::syncd_patch_to_vec(&patch))
    }
}
