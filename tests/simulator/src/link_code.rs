//! Pairing by code, from the phone's side and from the server's.
//!
//! The companion sends its ephemeral key wrapped with the code (`companion_hello`); the phone, once the code
//! is typed in, answers with its own (`primary_hello`); the companion sends its key bundle
//! (`companion_finish`), from which the phone derives the ADV secret that a QR code would have carried.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tokio::sync::oneshot;
use wacore::pair_code::PairCodeUtils;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder as B;
use wacore_libsignal::crypto::aes_256_gcm_decrypt;
use wacore_libsignal::protocol::{KeyPair, PublicKey};

use crate::connection::Session;
use crate::control::types::Linked;
use crate::node::{SERVER, attr, bytes_of, jid, now_s};
use crate::number::other_spelling;
use crate::pairing::{self, Entered, LinkState};
use crate::stanza::iq;
use crate::state::{Sim, lock};

/// How long the companion may take to answer a typed code: it derives a key that is slow on purpose.
const FINISH_LIMIT: Duration = Duration::from_secs(30);

/// What the phone keeps between the typed code and the companion's finish.
pub(crate) struct LinkCode {
    ephemeral: KeyPair,
    companion_ephemeral: [u8; 32],
}

impl LinkCode {
    /// Opens the companion's wrapped key with the typed code; returns the phone's own wrapped key. Slow.
    fn enter(code: &str, wrapped_companion: &[u8]) -> Result<(Self, [u8; 80])> {
        let companion_ephemeral = PairCodeUtils::decrypt_primary_ephemeral_pub(wrapped_companion, code)
            .map_err(|error| anyhow!("open the companion's key: {error}"))?;
        let ephemeral = KeyPair::generate(&mut rand::rng());
        let public: [u8; 32] = ephemeral.public_key.public_key_bytes().try_into()?;
        let wrapped = PairCodeUtils::encrypt_ephemeral_pub(&public, code);
        Ok((Self { ephemeral, companion_ephemeral }, wrapped))
    }

    /// Opens the companion's key bundle and derives the ADV secret.
    fn finish(&self, phone: &KeyPair, wrapped_bundle: &[u8], companion: &[u8; 32]) -> Result<[u8; 32]> {
        let agree = |pair: &KeyPair, public: &[u8; 32]| -> Result<_> {
            let public = PublicKey::from_djb_public_key_bytes(public)?;
            pair.calculate_agreement(&public).map_err(|error| anyhow!("key agreement: {error}"))
        };
        let shared = agree(&self.ephemeral, &self.companion_ephemeral)?;
        let identity = agree(phone, companion)?;
        ensure!(wrapped_bundle.len() > 60, "the companion's key bundle is too short");
        let (salt, rest) = wrapped_bundle.split_at(32);
        let (iv, ciphertext) = rest.split_at(12);
        let mut key = [0_u8; 32];
        wacore::crypto::hkdf_sha256_into(
            &shared,
            Some(salt),
            b"link_code_pairing_key_bundle_encryption_key",
            &mut key,
        )
        .map_err(|_| anyhow!("derive the bundle key"))?;
        let mut plain = Vec::new();
        aes_256_gcm_decrypt(&key, iv.try_into()?, b"", ciphertext, &mut plain)
            .map_err(|error| anyhow!("wrong pairing code: the companion's bundle does not open ({error})"))?;
        let random = plain.get(64..96).context("the companion's key bundle has another layout")?;
        let mut secret = [0_u8; 32];
        let combined = [&shared[..], &identity[..], random].concat();
        wacore::crypto::hkdf_sha256_into(&combined, None, b"adv_secret", &mut secret)
            .map_err(|_| anyhow!("derive the ADV secret"))?;
        Ok(secret)
    }
}

/// The person types the code on the phone of `number`; returns when the companion is confirmed.
pub(crate) async fn enter(sim: &Sim, number: &str, code: &str) -> Result<Linked> {
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    let number = sim.ensure_account(Some(number), None)?;
    let identity = lock(&*sim.phone(&number)?).identity_public().to_vec();
    let (connection, wrapped, reference, handle) = {
        let state = sim.state();
        let other = other_spelling(&number);
        let is_number = |asked: &str| asked == number || other.as_deref() == Some(asked);
        let (id, link, handle) = state
            .pairings
            .waits_for_code(is_number)
            .with_context(|| format!("no companion waits for a code of {number}"))?;
        (id, link.wrapped_companion.clone(), link.reference.clone(), handle.clone())
    };
    let (entered, own) = tokio::task::spawn_blocking(move || LinkCode::enter(&code, &wrapped)).await??;
    let (linked, done) = oneshot::channel();
    {
        let mut state = sim.state();
        let link = state.pairings.get_mut(connection).and_then(|pairing| pairing.link.as_mut());
        link.context("the companion has left")?.entered =
            Some(Entered { phone: number, code: entered, linked });
    }
    let hello = B::new("link_code_companion_reg")
        .attr("stage", "primary_hello")
        .children([
            B::new("link_code_pairing_wrapped_primary_ephemeral_pub").bytes(own.to_vec()).build(),
            B::new("primary_identity_pub").bytes(identity).build(),
            B::new("link_code_pairing_ref").bytes(reference).build(),
        ])
        .build();
    handle.send(
        B::new("notification")
            .attr("from", SERVER)
            .attr("type", "link_code_companion_reg")
            .attr("id", sim.stanza_id())
            .attr("t", now_s())
            .children([hello])
            .build(),
    );
    tokio::time::timeout(FINISH_LIMIT, done)
        .await
        .context("the companion did not answer the code; a wrong code looks like this")?
        .context("the companion left before it answered the code")?
}

/// `link_code_companion_reg` from the companion.
pub(crate) fn register(sim: &Sim, session: &Session, node: &Node, request: &Node) -> Result<()> {
    let connection = session.handle.id();
    match attr(request, "stage").as_str() {
        "companion_hello" => {
            let phone = jid(request, "jid").map(|jid| jid.user.to_string()).context("no jid")?;
            let reference = format!("lc{}", sim.next()).into_bytes();
            let wrapped = request.get_optional_child("link_code_pairing_wrapped_companion_ephemeral_pub");
            let link = LinkState {
                phone,
                reference: reference.clone(),
                wrapped_companion: bytes_of(wrapped),
                entered: None,
            };
            sim.state().pairings.get_mut(connection).context("not pairing")?.link = Some(link);
            let answer = B::new("link_code_companion_reg")
                .attr("stage", "companion_hello")
                .children([B::new("link_code_pairing_ref").bytes(reference).build()])
                .build();
            session.handle.send(iq::result(node, vec![answer]));
            Ok(())
        }
        "companion_finish" => {
            session.handle.send(iq::result(node, Vec::new()));
            let entered = {
                let mut state = sim.state();
                let link = state.pairings.get_mut(connection).and_then(|pairing| pairing.link.as_mut());
                link.and_then(|link| link.entered.take()).context("nobody has typed the code yet")?
            };
            let result = finish(sim, connection, request, &entered);
            // Nobody may be waiting for the answer any more.
            let _ = entered.linked.send(result);
            Ok(())
        }
        other => Err(anyhow!("link code stage {other} is unknown")),
    }
}

fn finish(sim: &Sim, connection: u64, request: &Node, entered: &Entered) -> Result<Linked> {
    let bundle = bytes_of(request.get_optional_child("link_code_pairing_wrapped_key_bundle"));
    let identity = pairing::key(Some(&bytes_of(request.get_optional_child("companion_identity_public"))))?;
    let phone = lock(&*sim.phone(&entered.phone)?).identity_pair();
    let secret = entered.code.finish(&phone, &bundle, &identity)?;
    pairing::confirm(sim, connection, &entered.phone, identity, &secret)
}
