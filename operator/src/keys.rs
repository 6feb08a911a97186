//! The keys that open devices, and the first administrator: Secrets that are made once, when they are missing.
//!
//! A chart that rendered them would make new ones at each `helm template`. A key that is changed by hand is followed when the operator
//! starts again; while two are to be accepted, the other one's public key is in the Secret's `accepted`, one a line.

use std::collections::{BTreeMap, BTreeSet};

use enlace_contract::token::{TokenSigner, TokenVerifier};
use enlace_crds::names;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use crate::config::OperatorConfig;

/// The data key of an Ed25519 seed, 32 bytes.
const KEY: &str = "key";
/// The data key of further public keys that are accepted.
const ACCEPTED: &str = "accepted";
/// What a password is made of: letters and digits that are not mistaken for each other.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
/// 24 characters of 57 are 139 bits.
const PASSWORD_LENGTH: usize = 24;

/// The keys of the installation.
pub struct Keys {
    /// The operator's own.
    pub signer: TokenSigner,
    /// All public keys that open a device.
    pub public: Vec<String>,
}

/// The keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The API server refused.
    #[error("the Secret {name} cannot be read or made")]
    Kube {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// It is not a key.
    #[error("the Secret {name} has no key: data key `key` must be 32 bytes")]
    NoKey {
        /// Which.
        name: String,
    },
    /// An accepted key is not one.
    #[error("the Secret {name}: a line of `accepted` is not an Ed25519 public key in unpadded base64url")]
    NotAccepted {
        /// Which.
        name: String,
    },
}

/// Makes what is missing and reads the keys.
///
/// # Errors
/// When a Secret cannot be read, made or understood.
pub async fn ensure(api: &Api<Secret>, config: &OperatorConfig) -> Result<Keys, KeyError> {
    let seed = || [(KEY.to_owned(), ByteString(rand::random::<[u8; 32]>().to_vec()))].into();
    let operator = ensure_secret(api, config, &config.operator_key(), seed).await?;
    let operators = ensure_secret(api, config, &config.api_key(), seed).await?;
    ensure_secret(api, config, &config.admin(), || {
        [
            ("username".to_owned(), ByteString(b"admin".to_vec())),
            ("password".to_owned(), ByteString(password().into_bytes())),
        ]
        .into()
    })
    .await?;
    let signer = signer(&operator, &config.operator_key(), "operator")?;
    let api_signer = self::signer(&operators, &config.api_key(), "api")?;
    let mut public: BTreeSet<String> = accepted(&operator, &config.operator_key())?;
    public.extend(accepted(&operators, &config.api_key())?);
    public.extend([signer.public_key().to_owned(), api_signer.public_key().to_owned()]);
    Ok(Keys { signer, public: public.into_iter().collect() })
}

async fn ensure_secret(
    api: &Api<Secret>,
    config: &OperatorConfig,
    name: &str,
    data: impl FnOnce() -> BTreeMap<String, ByteString>,
) -> Result<Secret, KeyError> {
    let failed = |source| KeyError::Kube { name: name.to_owned(), source };
    if let Some(secret) = api.get_opt(name).await.map_err(failed)? {
        return Ok(secret);
    }
    let labels = [
        (names::APP_NAME, "enlace".to_owned()),
        (names::APP_INSTANCE, config.installation.clone()),
        (names::APP_MANAGED_BY, names::FIELD_MANAGER.to_owned()),
    ];
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.map(|(label, value)| (label.to_owned(), value)).into()),
            ..ObjectMeta::default()
        },
        data: Some(data()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    let parameters =
        PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&parameters, &secret).await {
        Ok(secret) => {
            tracing::info!(secret = name, "the Secret {name} was made");
            Ok(secret)
        }
        // Another replica was faster, whose lease ran out since.
        Err(kube::Error::Api(status)) if status.is_already_exists() => api.get(name).await.map_err(failed),
        Err(source) => Err(failed(source)),
    }
}

fn signer(secret: &Secret, name: &str, issuer: &str) -> Result<TokenSigner, KeyError> {
    let no_key = || KeyError::NoKey { name: name.to_owned() };
    let seed = secret.data.as_ref().and_then(|data| data.get(KEY)).ok_or_else(no_key)?;
    let seed: &[u8; 32] = seed.0.as_slice().try_into().map_err(|_| no_key())?;
    TokenSigner::new(seed, issuer).map_err(|_| no_key())
}

fn accepted(secret: &Secret, name: &str) -> Result<BTreeSet<String>, KeyError> {
    let Some(lines) = secret.data.as_ref().and_then(|data| data.get(ACCEPTED)) else {
        return Ok(BTreeSet::new());
    };
    let wrong = || KeyError::NotAccepted { name: name.to_owned() };
    let text = std::str::from_utf8(&lines.0).map_err(|_| wrong())?;
    let keys: BTreeSet<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect();
    for key in &keys {
        TokenVerifier::new("", std::slice::from_ref(key)).map_err(|_| wrong())?;
    }
    Ok(keys)
}

fn password() -> String {
    (0..PASSWORD_LENGTH).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(data: &[(&str, &[u8])]) -> Secret {
        let data =
            data.iter().map(|(name, value)| ((*name).to_owned(), ByteString(value.to_vec()))).collect();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn a_secret_without_32_bytes_is_no_key_and_says_so() {
        let error = signer(&secret(&[(KEY, b"short")]), "enlace-api-key", "api").unwrap_err().to_string();
        assert_eq!(error, "the Secret enlace-api-key has no key: data key `key` must be 32 bytes");
        signer(&secret(&[(KEY, &[7; 32])]), "enlace-api-key", "api").unwrap();
    }

    #[test]
    fn further_accepted_keys_are_read_line_by_line() {
        let other = TokenSigner::new(&[9; 32], "old").unwrap();
        let lines = format!("{}\n\n", other.public_key());
        let both = accepted(&secret(&[(ACCEPTED, lines.as_bytes())]), "enlace-api-key").unwrap();
        assert_eq!(both, [other.public_key().to_owned()].into());
        assert!(accepted(&secret(&[(ACCEPTED, b"no key")]), "enlace-api-key").is_err());
    }

    #[test]
    fn a_password_is_long_and_never_the_same() {
        assert_eq!(password().len(), PASSWORD_LENGTH);
        assert_ne!(password(), password());
    }
}
