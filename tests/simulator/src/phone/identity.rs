//! What a phone signs: the identities of its account's companions (ADV).

use anyhow::{Result, anyhow};
use buffa::Message as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use wacore_libsignal::protocol::KeyPair;
use waproto::whatsapp as wa;

use super::Phone;

/// Prefix of what an account signs for a companion's identity.
const ACCOUNT_SIGNATURE: [u8; 2] = [6, 0];
/// Prefix of what an account signs for its list of key indexes.
const KEY_INDEX_SIGNATURE: [u8; 2] = [6, 2];

impl Phone {
    pub(crate) fn identity_pair(&self) -> KeyPair {
        self.identity.clone()
    }

    pub(crate) fn identity_public(&self) -> &[u8] {
        self.identity.public_key.public_key_bytes()
    }

    /// The `<device-identity>` of pair-success: an `ADVSignedDeviceIdentityHMAC`.
    pub(crate) fn sign_device(
        &self,
        companion: &[u8; 32],
        adv_secret: &[u8],
        key_index: u32,
        now_s: u64,
    ) -> Result<Vec<u8>> {
        let details = wa::ADVDeviceIdentity {
            raw_id: Some(self.raw_id),
            timestamp: Some(now_s),
            key_index: Some(key_index),
            account_type: Some(wa::ADVEncryptionType::E2EE),
            device_type: Some(wa::ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let signature = self.sign(&[&ACCOUNT_SIGNATURE[..], &details, companion].concat())?;
        let signed = wa::ADVSignedDeviceIdentity {
            details: Some(details),
            account_signature_key: Some(self.identity_public().to_vec()),
            account_signature: Some(signature),
            device_signature: None,
        }
        .encode_to_vec();
        let mut mac = Hmac::<Sha256>::new_from_slice(adv_secret)?;
        mac.update(&signed);
        Ok(wa::ADVSignedDeviceIdentityHMAC {
            details: Some(signed),
            hmac: Some(mac.finalize().into_bytes().to_vec()),
            account_type: Some(wa::ADVEncryptionType::E2EE),
        }
        .encode_to_vec())
    }

    /// The signed list of key indexes that a device query returns.
    pub(crate) fn key_index_list(&self, indexes: Vec<u32>, now_s: u64) -> Result<Vec<u8>> {
        let details = wa::ADVKeyIndexList {
            raw_id: Some(self.raw_id),
            timestamp: Some(now_s),
            current_index: indexes.iter().copied().max().or(Some(0)),
            valid_indexes: indexes,
            account_type: Some(wa::ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let signature = self.sign(&[&KEY_INDEX_SIGNATURE[..], &details].concat())?;
        Ok(wa::ADVSignedKeyIndexList {
            details: Some(details),
            account_signature: Some(signature),
            account_signature_key: Some(self.identity_public().to_vec()),
        }
        .encode_to_vec())
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let signature = self.identity.calculate_signature(bytes, &mut rand::rng());
        Ok(signature.map_err(|error| anyhow!("sign: {error}"))?.to_vec())
    }
}
