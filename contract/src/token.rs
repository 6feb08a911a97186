//! The short-lived tokens that open one device: Ed25519 JWTs (RFC 8037) whose audience is the device's UID.
//!
//! Whoever may talk to devices has a key pair; each device knows the public keys. A stolen token opens one device for minutes, and a
//! device holds no secret that opens another.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// How long a token is good.
pub const LIFETIME: Duration = Duration::from_secs(300);
/// How far two clocks may be apart.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// What makes tokens.
#[derive(Clone)]
pub struct TokenSigner {
    key: EncodingKey,
    public: String,
    issuer: String,
}

/// What checks the tokens of one device.
#[derive(Clone)]
pub struct TokenVerifier {
    keys: Vec<DecodingKey>,
    validation: Validation,
}

/// A key is not one.
#[derive(Debug, thiserror::Error)]
#[error("not an Ed25519 public key: 32 bytes in unpadded base64url")]
pub struct InvalidKey;

/// The token does not open this device. What was wrong stays inside.
#[derive(Debug, thiserror::Error)]
#[error("the token does not open this device")]
pub struct Refused;

/// Making a token failed.
#[derive(Debug, thiserror::Error)]
#[error("a device token could not be signed")]
pub struct SigningFailed(#[source] jsonwebtoken::errors::Error);

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
}

impl TokenSigner {
    /// A signer of a 32-byte secret key; `issuer` says who it is (`operator`, `api`).
    ///
    /// # Errors
    /// When the key cannot be encoded.
    pub fn new(secret: &[u8; 32], issuer: &str) -> Result<Self, InvalidKey> {
        let key = SigningKey::from_bytes(secret);
        let der = key.to_pkcs8_der().map_err(|_| InvalidKey)?;
        Ok(Self {
            key: EncodingKey::from_ed_der(der.as_bytes()),
            public: BASE64_URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
            issuer: issuer.to_owned(),
        })
    }

    /// A signer of a new random key.
    ///
    /// # Errors
    /// When the key cannot be encoded.
    pub fn generate(issuer: &str) -> Result<Self, InvalidKey> {
        Self::new(&rand::random(), issuer)
    }

    /// The public key, as a device's configuration has it.
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// A token for the device of a UID, good for [`LIFETIME`] from `now`.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign(&self, uid: &str, now: Timestamp) -> Result<String, SigningFailed> {
        let iat = now.as_second();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: uid.to_owned(),
            iat,
            exp: iat.saturating_add(LIFETIME.as_secs().cast_signed()),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key).map_err(SigningFailed)
    }
}

impl TokenVerifier {
    /// What checks tokens for the device of a UID, by the public keys of its configuration.
    ///
    /// # Errors
    /// When a key is not one.
    pub fn new(uid: &str, keys: &[String]) -> Result<Self, InvalidKey> {
        let keys = keys
            .iter()
            .map(|key| {
                let bytes = BASE64_URL_SAFE_NO_PAD.decode(key).map_err(|_| InvalidKey)?;
                if bytes.len() != 32 {
                    return Err(InvalidKey);
                }
                DecodingKey::from_ed_components(key).map_err(|_| InvalidKey)
            })
            .collect::<Result<_, _>>()?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[uid]);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        validation.leeway = LEEWAY.as_secs();
        Ok(Self { keys, validation })
    }

    /// Whether a token opens this device: its issuer if so.
    ///
    /// # Errors
    /// When no key made it, it is for another device, or its time is over.
    pub fn verify(&self, token: &str) -> Result<String, Refused> {
        self.keys
            .iter()
            .find_map(|key| jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok())
            .map(|token| token.claims.iss)
            .ok_or(Refused)
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner")
            .field("issuer", &self.issuer)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifier(uid: &str, signers: &[&TokenSigner]) -> TokenVerifier {
        let keys: Vec<String> = signers.iter().map(|s| s.public_key().to_owned()).collect();
        TokenVerifier::new(uid, &keys).unwrap()
    }

    #[test]
    fn a_token_opens_the_one_device_it_was_made_for() {
        let signer = TokenSigner::generate("api").unwrap();
        let token = signer.sign("uid-1", Timestamp::now()).unwrap();
        assert_eq!(verifier("uid-1", &[&signer]).verify(&token).unwrap(), "api");
        assert!(verifier("uid-2", &[&signer]).verify(&token).is_err());
    }

    #[test]
    fn two_keys_are_accepted_during_a_rotation() {
        let (old, new) = (TokenSigner::generate("api").unwrap(), TokenSigner::generate("api").unwrap());
        let verifier = verifier("uid", &[&new, &old]);
        for signer in [&old, &new] {
            assert!(verifier.verify(&signer.sign("uid", Timestamp::now()).unwrap()).is_ok());
        }
    }

    #[test]
    fn an_old_token_a_strange_one_and_no_key_open_nothing() {
        let signer = TokenSigner::generate("api").unwrap();
        let old = Timestamp::now() - jiff::SignedDuration::from_secs(600);
        assert!(verifier("uid", &[&signer]).verify(&signer.sign("uid", old).unwrap()).is_err());
        let stranger = TokenSigner::generate("api").unwrap().sign("uid", Timestamp::now()).unwrap();
        assert!(verifier("uid", &[&signer]).verify(&stranger).is_err());
        assert!(verifier("uid", &[]).verify(&stranger).is_err());
        assert!(TokenVerifier::new("uid", &["short".into()]).is_err());
    }
}
