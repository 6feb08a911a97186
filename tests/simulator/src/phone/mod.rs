//! The simulated phone of one account: its primary device.
//!
//! It has a real Signal identity and real sessions, signs the account's companions, shares its app-state
//! key, and keeps an inbox of what it could decrypt. Nothing here waits: the Signal stores are in memory, so
//! the library's futures are ready at the first poll.

mod app_state;
mod content;
mod history;
mod identity;
mod inbox;
mod receive;
mod send;
mod stores;

use std::collections::HashMap;
use std::future::Future;

use anyhow::{Context, Result, anyhow, bail};
use futures::FutureExt as _;
use rand::RngExt as _;
use rand::rngs::StdRng;
use wacore::messages::MessageUtils;
use wacore_libsignal::protocol::{
    self as signal, CiphertextMessage, DeviceId, GenericSignedPreKey as _, IdentityKey, IdentityKeyPair,
    KeyPair, PreKeyBundle, PreKeyId, PreKeyRecord, PreKeySignalMessage, ProtocolAddress, PublicKey,
    SignalMessage, SignedPreKeyId, SignedPreKeyRecord, Timestamp, UsePQRatchet,
};
use waproto::whatsapp as wa;

pub(crate) use self::history::bootstrap as history;
pub(crate) use self::inbox::Inbox;
pub(crate) use self::receive::{Incoming, got_receipts, read, receive};
use self::send::Sent;
pub(crate) use self::send::{media, resend, share_key, text, to_own_companions};
use self::stores::{Identities, PreKeys, Sessions, SignedPreKey};

/// The signed pre-key's id and time; it never rotates.
const SIGNED_KEY_ID: u32 = 1;
const SIGNED_KEY_TIME_MS: u64 = 1_700_000_000_000;

/// Public key material for a new Signal session with one device.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    pub(crate) registration_id: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed_key_id: u32,
    pub(crate) signed_key: [u8; 32],
    pub(crate) signed_key_signature: Vec<u8>,
    pub(crate) prekey: Option<(u32, [u8; 32])>,
    pub(crate) device_identity: Option<Vec<u8>>,
}

/// One phone.
pub(crate) struct Phone {
    identity: KeyPair,
    raw_id: u32,
    signed_key: KeyPair,
    signed_key_signature: Vec<u8>,
    next_prekey: u32,
    sessions: Sessions,
    identities: Identities,
    prekeys: PreKeys,
    signed: SignedPreKey,
    app_key_id: Vec<u8>,
    app_key: Vec<u8>,
    pub(crate) inbox: Inbox,
    sent: Sent,
}

/// `N` random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    rand::rng().fill(&mut bytes);
    bytes
}

/// The result of a future over in-memory stores.
fn at_once<T, E: Into<anyhow::Error>>(future: impl Future<Output = Result<T, E>>) -> Result<T> {
    future.now_or_never().context("a Signal store waited")?.map_err(Into::into)
}

fn public(pair: &KeyPair) -> Result<[u8; 32]> {
    Ok(pair.public_key.public_key_bytes().try_into()?)
}

/// The Signal address of a device (`number:device`).
fn address(device: &str) -> ProtocolAddress {
    ProtocolAddress::new(device, DeviceId::new(0))
}

impl Phone {
    pub(crate) fn new() -> Result<Self> {
        let mut rng = rand::rng();
        let identity = KeyPair::generate(&mut rng);
        let signed_key = KeyPair::generate(&mut rng);
        let signature = identity
            .calculate_signature(&signed_key.public_key.serialize(), &mut rng)
            .map_err(|error| anyhow!("sign the pre-key: {error}"))?
            .to_vec();
        let registration_id = (rng.random::<u32>() & 0x3fff) + 1;
        let record = SignedPreKeyRecord::new(
            SignedPreKeyId::from(SIGNED_KEY_ID),
            Timestamp::from_epoch_millis(SIGNED_KEY_TIME_MS),
            &signed_key,
            &signature,
        );
        let own = IdentityKeyPair::new(IdentityKey::new(identity.public_key), identity.private_key.clone());
        Ok(Self {
            identity,
            raw_id: rng.random::<u32>() >> 4,
            signed_key,
            signed_key_signature: signature,
            next_prekey: 1,
            sessions: Sessions::default(),
            identities: Identities { own, registration_id, known: HashMap::new() },
            prekeys: PreKeys::default(),
            signed: SignedPreKey(record),
            // Two bytes of device and four of epoch, as real key ids look.
            app_key_id: vec![0, 0, 0, 0, 0, 1],
            app_key: random::<32>().to_vec(),
            inbox: Inbox::default(),
            sent: Sent::default(),
        })
    }

    /// The key bundle of device 0; makes a one-time pre-key for it.
    pub(crate) fn bundle(&mut self) -> Result<Bundle> {
        let prekey = KeyPair::generate(&mut rand::rng());
        let id = self.next_prekey;
        self.next_prekey += 1;
        self.prekeys.0.insert(id, PreKeyRecord::new(PreKeyId::from(id), &prekey));
        Ok(Bundle {
            registration_id: self.identities.registration_id,
            identity: public(&self.identity)?,
            signed_key_id: SIGNED_KEY_ID,
            signed_key: public(&self.signed_key)?,
            signed_key_signature: self.signed_key_signature.clone(),
            prekey: Some((id, public(&prekey)?)),
            device_identity: None,
        })
    }

    fn has_session(&self, device: &str) -> bool {
        self.sessions.0.contains_key(address(device).as_str())
    }

    /// Starts a session from a bundle; an older one is archived.
    fn start_session(&mut self, device: &str, bundle: Bundle) -> Result<()> {
        let key = |bytes: &[u8; 32]| PublicKey::from_djb_public_key_bytes(bytes);
        let prekey = match &bundle.prekey {
            Some((id, public)) => Some((PreKeyId::from(*id), key(public)?)),
            None => None,
        };
        let bundle = PreKeyBundle::new(
            bundle.registration_id,
            DeviceId::new(0),
            prekey,
            SignedPreKeyId::from(bundle.signed_key_id),
            key(&bundle.signed_key)?,
            bundle.signed_key_signature,
            IdentityKey::new(key(&bundle.identity)?),
        )?;
        let mut rng = rand::make_rng::<StdRng>();
        at_once(signal::process_prekey_bundle(
            &address(device),
            &mut self.sessions,
            &mut self.identities,
            &bundle,
            &mut rng,
            UsePQRatchet::No,
        ))?;
        Ok(())
    }

    /// Encrypts for one device; returns the `enc` type and the ciphertext.
    fn encrypt(&mut self, device: &str, message: &wa::Message) -> Result<(&'static str, Vec<u8>)> {
        let padded = MessageUtils::encode_and_pad(message);
        let ciphertext = at_once(signal::message_encrypt(
            &padded,
            &address(device),
            &mut self.sessions,
            &mut self.identities,
        ))?;
        Ok(match &ciphertext {
            CiphertextMessage::PreKeySignalMessage(message) => ("pkmsg", message.serialized().to_vec()),
            other => ("msg", other.serialize().to_vec()),
        })
    }

    fn decrypt(&mut self, device: &str, kind: &str, ciphertext: &[u8]) -> Result<wa::Message> {
        let ciphertext = match kind {
            "pkmsg" => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(ciphertext)?),
            "msg" => CiphertextMessage::SignalMessage(SignalMessage::try_from(ciphertext)?),
            other => bail!("a phone cannot decrypt {other}"),
        };
        let mut rng = rand::make_rng::<StdRng>();
        let plain = at_once(signal::message_decrypt(
            &ciphertext,
            &address(device),
            &mut self.sessions,
            &mut self.identities,
            &mut self.prekeys,
            &self.signed,
            &mut rng,
            UsePQRatchet::No,
        ))?;
        if let Some(id) = plain.consumed_prekey_id {
            self.prekeys.0.remove(&u32::from(id));
        }
        let unpadded = MessageUtils::unpad_message_ref(&plain.plaintext, 2)?;
        waproto::codec::message_decode(unpadded).map_err(|error| anyhow!("decode the message: {error}"))
    }
}
