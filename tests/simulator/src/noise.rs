//! The server side of the WhatsApp Noise handshake (XX, IK, XXfallback) on top of the published
//! `wacore-noise` primitives.
//!
//! The certificate chain is really signed (root → intermediate → leaf, the leaf's key being the Noise static),
//! so that clients which check it can, given the simulator's root key.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use buffa::Message as _;
use wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK};
use wacore_libsignal::protocol::{KeyPair, PrivateKey};
use wacore_noise::{NoiseCipher, NoiseHandshake};
use waproto::whatsapp::{self as wa, cert_chain::noise_certificate, handshake_message};

/// Long-lived server identity: root CA, intermediate, leaf (= Noise static).
pub(crate) struct ServerKeys {
    root: KeyPair,
    noise_static: KeyPair,
    cert_chain: Vec<u8>,
}

impl ServerKeys {
    /// Reads the key file, or makes fresh keys and writes it; without a file the keys are fresh each time.
    pub(crate) fn load_or_generate(path: Option<&Path>) -> Result<Self> {
        let mut rng = rand::rng();
        if let Some(path) = path
            && path.exists()
        {
            let bytes =
                std::fs::read(path).with_context(|| format!("read the key file {}", path.display()))?;
            let pair = |range: std::ops::Range<usize>| -> Result<KeyPair> {
                let private = PrivateKey::deserialize(bytes.get(range).context("the key file is too short")?)
                    .map_err(|error| anyhow!("private key: {error}"))?;
                Ok(KeyPair::new(
                    private.public_key().map_err(|error| anyhow!("public key: {error}"))?,
                    private,
                ))
            };
            return Self::issue(pair(0..32)?, pair(32..64)?);
        }
        let (root, noise_static) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        if let Some(path) = path {
            let bytes =
                [&root.private_key.serialize()[..], &noise_static.private_key.serialize()[..]].concat();
            std::fs::write(path, bytes).with_context(|| format!("write the key file {}", path.display()))?;
        }
        Self::issue(root, noise_static)
    }

    /// The same root with a new Noise static: clients that resume with IK must fall back.
    pub(crate) fn rotated(&self) -> Result<Self> {
        Self::issue(self.root.clone(), KeyPair::generate(&mut rand::rng()))
    }

    /// The public root key, for clients that check the chain.
    pub(crate) fn root_public(&self) -> &[u8] {
        self.root.public_key.public_key_bytes()
    }

    fn issue(root: KeyPair, noise_static: KeyPair) -> Result<Self> {
        let mut rng = rand::rng();
        let inter = KeyPair::generate(&mut rng);
        let inter_details = noise_certificate::Details {
            serial: Some(1),
            issuer_serial: Some(0),
            key: Some(inter.public_key.public_key_bytes().to_vec()),
            not_before: Some(1_700_000_000),
            not_after: Some(2_100_000_000),
        }
        .encode_to_vec();
        let leaf_details = noise_certificate::Details {
            serial: Some(2),
            issuer_serial: Some(1),
            key: Some(noise_static.public_key.public_key_bytes().to_vec()),
            not_before: Some(1_700_000_000),
            not_after: Some(2_100_000_000),
        }
        .encode_to_vec();
        let inter_sig =
            root.calculate_signature(&inter_details, &mut rng).map_err(|error| anyhow!("sign: {error}"))?;
        let leaf_sig =
            inter.calculate_signature(&leaf_details, &mut rng).map_err(|error| anyhow!("sign: {error}"))?;
        let cert_chain = wa::CertChain {
            leaf: buffa::MessageField::some(wa::cert_chain::NoiseCertificate {
                details: Some(leaf_details),
                signature: Some(leaf_sig.to_vec()),
            }),
            intermediate: buffa::MessageField::some(wa::cert_chain::NoiseCertificate {
                details: Some(inter_details),
                signature: Some(inter_sig.to_vec()),
            }),
        }
        .encode_to_vec();
        Ok(Self { root, noise_static, cert_chain })
    }
}

/// A finished handshake.
pub(crate) struct Established {
    /// Server to client.
    pub(crate) enc: NoiseCipher,
    /// Client to server.
    pub(crate) dec: NoiseCipher,
    pub(crate) client_static: [u8; 32],
    pub(crate) payload: wa::ClientPayload,
    pub(crate) pattern: &'static str,
}

/// What to do after the ClientHello was read.
pub(crate) enum AfterHello {
    /// IK accepted: send `hello`, done.
    Done { hello: Vec<u8>, established: Box<Established> },
    /// XX or XXfallback: send `hello`, then feed the ClientFinish to `pending`.
    NeedFinish { hello: Vec<u8>, pending: Box<PendingXx> },
}

/// An XX handshake that waits for the ClientFinish.
pub(crate) struct PendingXx {
    noise: NoiseHandshake,
    eph: KeyPair,
    pattern: &'static str,
}

fn decode_payload(bytes: &[u8]) -> Result<wa::ClientPayload> {
    wa::ClientPayload::decode_from_slice(bytes).map_err(|e| anyhow!("client payload: {e}"))
}

fn hello_msg(eph: Option<Vec<u8>>, stat: Option<Vec<u8>>, payload: Option<Vec<u8>>) -> Vec<u8> {
    wa::HandshakeMessage {
        server_hello: buffa::MessageField::some(handshake_message::ServerHello {
            ephemeral: eph,
            r#static: stat,
            payload,
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

/// Reads the first frame; an IK attempt that does not fit the current static key falls back.
pub(crate) fn read_client_hello(keys: &ServerKeys, prologue: &[u8], frame: &[u8]) -> Result<AfterHello> {
    let msg = waproto::codec::handshake_message_decode(frame)?;
    let ch = msg.client_hello.into_option().context("no ClientHello")?;
    let ce: [u8; 32] =
        ch.ephemeral.context("no ephemeral")?.try_into().map_err(|_| anyhow!("bad ephemeral"))?;

    let mut pattern = "XX";
    if let (Some(cs), Some(pl)) = (ch.r#static, ch.payload) {
        match accept_ik(keys, prologue, &ce, &cs, &pl) {
            Ok(done) => return Ok(done),
            Err(e) => {
                tracing::info!("IK rejected ({e:#}), answering XXfallback");
                pattern = "XXfallback";
            }
        }
    }
    let name = if pattern == "XX" { NOISE_PATTERN_XX } else { NOISE_PATTERN_XXFALLBACK };
    let mut n = NoiseHandshake::new(name, prologue)?;
    n.authenticate(&ce);
    let eph = KeyPair::generate(&mut rand::rng());
    n.authenticate(eph.public_key.public_key_bytes());
    n.mix_shared_secret(eph.private_key.serialize(), &ce)?;
    let st = n.encrypt(keys.noise_static.public_key.public_key_bytes())?;
    n.mix_shared_secret(keys.noise_static.private_key.serialize(), &ce)?;
    let cert = n.encrypt(&keys.cert_chain)?;
    let hello = hello_msg(Some(eph.public_key.public_key_bytes().to_vec()), Some(st), Some(cert));
    Ok(AfterHello::NeedFinish { hello, pending: Box::new(PendingXx { noise: n, eph, pattern }) })
}

fn accept_ik(keys: &ServerKeys, prologue: &[u8], ce: &[u8; 32], cs: &[u8], pl: &[u8]) -> Result<AfterHello> {
    let mut n = NoiseHandshake::new(NOISE_PATTERN_IK, prologue)?;
    n.authenticate(keys.noise_static.public_key.public_key_bytes());
    n.authenticate(ce);
    n.mix_shared_secret(keys.noise_static.private_key.serialize(), ce)?;
    let client_static: [u8; 32] = n.decrypt(cs)?.try_into().map_err(|_| anyhow!("static len"))?;
    n.mix_shared_secret(keys.noise_static.private_key.serialize(), &client_static)?;
    let payload = decode_payload(&n.decrypt(pl)?)?;
    let eph = KeyPair::generate(&mut rand::rng());
    n.authenticate(eph.public_key.public_key_bytes());
    n.mix_shared_secret(eph.private_key.serialize(), ce)?;
    n.mix_shared_secret(eph.private_key.serialize(), &client_static)?;
    let cert = n.encrypt(&keys.cert_chain)?;
    let (c2s, s2c) = n.finish()?;
    Ok(AfterHello::Done {
        hello: hello_msg(Some(eph.public_key.public_key_bytes().to_vec()), None, Some(cert)),
        established: Box::new(Established { enc: s2c, dec: c2s, client_static, payload, pattern: "IK" }),
    })
}

impl PendingXx {
    pub(crate) fn read_client_finish(mut self, frame: &[u8]) -> Result<Established> {
        let msg = waproto::codec::handshake_message_decode(frame)?;
        let Some(fin) = msg.client_finish.into_option() else { bail!("no ClientFinish") };
        let client_static: [u8; 32] = self
            .noise
            .decrypt(fin.r#static.as_deref().unwrap_or_default())?
            .try_into()
            .map_err(|_| anyhow!("static len"))?;
        self.noise.mix_shared_secret(self.eph.private_key.serialize(), &client_static)?;
        let payload = decode_payload(&self.noise.decrypt(fin.payload.as_deref().unwrap_or_default())?)?;
        let (c2s, s2c) = self.noise.finish()?;
        Ok(Established { enc: s2c, dec: c2s, client_static, payload, pattern: self.pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wacore_noise::{IkHandshakeState, IkServerHelloOutcome};

    const PROLOGUE: &[u8] = b"WA\x06\x03";

    fn resuming_client(keys: &ServerKeys) -> (IkHandshakeState, [u8; 32]) {
        let client = KeyPair::generate(&mut rand::rng());
        let public = client.public_key.public_key_bytes().try_into().unwrap();
        let server = keys.noise_static.public_key.public_key_bytes().try_into().unwrap();
        let payload =
            wa::ClientPayload { username: Some(525500000001), device: Some(3), ..Default::default() };
        (IkHandshakeState::new(client, server, payload.encode_to_vec(), PROLOGUE).unwrap(), public)
    }

    #[test]
    fn a_client_that_knows_the_static_key_resumes_and_both_sides_read_each_other() {
        let keys = ServerKeys::load_or_generate(None).unwrap();
        let (mut client, public) = resuming_client(&keys);
        let answer = read_client_hello(&keys, PROLOGUE, &client.build_client_hello().unwrap()).unwrap();
        let AfterHello::Done { hello, established } = answer else { panic!("IK was not accepted") };
        assert_eq!((established.pattern, established.client_static), ("IK", public));
        assert_eq!(established.payload.device, Some(3));
        let Ok(IkServerHelloOutcome::Continue(client)) = client.read_server_hello(&hello) else {
            panic!("the client did not accept the ServerHello")
        };
        let mut to_server: bytes::BytesMut =
            client.write_cipher.encrypt_with_counter(0, b"up").unwrap().as_slice().into();
        established.dec.decrypt_in_place_with_counter(0, &mut to_server).unwrap();
        let mut to_client: bytes::BytesMut =
            established.enc.encrypt_with_counter(0, b"down").unwrap().as_slice().into();
        client.read_cipher.decrypt_in_place_with_counter(0, &mut to_client).unwrap();
        assert_eq!((&to_server[..], &to_client[..]), (&b"up"[..], &b"down"[..]));
    }

    #[test]
    fn a_client_that_knows_an_older_static_key_is_made_to_fall_back() {
        let keys = ServerKeys::load_or_generate(None).unwrap();
        let (mut client, _) = resuming_client(&keys);
        let rotated = keys.rotated().unwrap();
        let answer = read_client_hello(&rotated, PROLOGUE, &client.build_client_hello().unwrap()).unwrap();
        let AfterHello::NeedFinish { hello, pending } = answer else { panic!("IK was accepted") };
        assert_eq!(pending.pattern, "XXfallback");
        assert!(matches!(client.read_server_hello(&hello), Ok(IkServerHelloOutcome::Fallback(_))));
    }

    #[test]
    fn the_key_file_keeps_both_keys_and_rotation_keeps_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let first = ServerKeys::load_or_generate(Some(&path)).unwrap();
        let second = ServerKeys::load_or_generate(Some(&path)).unwrap();
        assert_eq!(first.root_public(), second.root_public());
        let public = |keys: &ServerKeys| keys.noise_static.public_key.public_key_bytes().to_vec();
        assert_eq!(public(&first), public(&second));
        let rotated = first.rotated().unwrap();
        assert_eq!(rotated.root_public(), first.root_public());
        assert_ne!(public(&rotated), public(&first));
    }
}
