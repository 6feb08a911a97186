//! What opens the API.
//!
//! A token is 32 random bytes in hexadecimal. Only its SHA-256 is stored, and a token is found by it: what an attacker can measure of the
//! comparison says something of a hash, and nothing of a token.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::known::LAST_USED;
use super::statement::Columns as _;
use super::{Database, DatabaseError, User, time};
use crate::auth::Action;
use enlace_contract::name::DeviceKey;

/// `lastUsedAt` is this coarse: a write for each request would cost more than the request.
const LAST_USED_STEP: SignedDuration = SignedDuration::from_secs(60);

/// A token, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRecord {
    /// Its identifier.
    pub id: String,
    /// The identifier of its user.
    pub user_id: String,
    /// What it is for, in the words of whoever made it.
    pub name: String,
    /// The devices it is narrowed to. Absent: every device of its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<TokenDevice>>,
    /// The actions it is narrowed to. Absent: every action of its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<Action>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends. Absent: it does not by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

/// A device that a token opens: by UID, so that it does not open another device that has the name later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenDevice {
    /// What it is called.
    #[schema(value_type = String, example = "default/billing")]
    pub key: DeviceKey,
    /// Its UID.
    pub uid: String,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// Of whom.
    pub user_id: &'a str,
    /// What it is for.
    pub name: &'a str,
    /// See [`TokenRecord::devices`].
    pub devices: Option<Vec<TokenDevice>>,
    /// See [`TokenRecord::actions`].
    pub actions: Option<Vec<Action>>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl Database {
    /// Stores a token by the hash of its value.
    ///
    /// # Errors
    /// When the database fails; so for all calls.
    pub async fn create_token(
        &self,
        new: NewToken<'_>,
        hash: &str,
        now: Timestamp,
    ) -> Result<TokenRecord, DatabaseError> {
        let NewToken { user_id, name, devices, actions, expires_at } = new;
        // Ended tokens have no other end; a busy user makes the most of them.
        let ended = self
            .statement("DELETE FROM enlace_tokens WHERE user_id = ? AND expires_at <= ?")
            .text(user_id)
            .time(now);
        self.run(ended).await?;
        let whole = |exact: Timestamp| time(exact.as_millisecond());
        let record = TokenRecord {
            id: uuid::Uuid::new_v4().to_string(),
            user_id: user_id.to_owned(),
            name: name.to_owned(),
            devices,
            actions,
            created_at: whole(now)?,
            expires_at: expires_at.map(whole).transpose()?,
            last_used_at: None,
        };
        let insert = self
            .statement(
                "INSERT INTO enlace_tokens (id, user_id, name, hash, devices, actions, created_at, expires_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .text(record.id.as_str())
            .text(user_id)
            .text(name)
            .text(hash)
            .text(record.devices.as_ref().map(to_json).transpose()?.as_deref())
            .text(record.actions.as_ref().map(to_json).transpose()?.as_deref())
            .time(record.created_at)
            .time(record.expires_at);
        self.run(insert).await?;
        Ok(record)
    }

    /// The token of a hash and its user, when it has not ended. Notes that it was used.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_by_hash(
        &self,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<(TokenRecord, User)>, DatabaseError> {
        let read = self.read_token(hash);
        let found = match &self.known {
            Some(known) => known.tokens.or_read(hash, read).await?,
            None => read.await?,
        };
        match found.filter(|(token, _)| token.expires_at.is_none_or(|end| end > now)) {
            Some(found) => Ok(Some(self.used(found, hash, now).await)),
            None => Ok(None),
        }
    }

    async fn read_token(&self, hash: &str) -> Result<Option<(TokenRecord, User)>, DatabaseError> {
        let find = self
            .statement(
                "SELECT t.id, t.user_id, t.name, t.devices, t.actions, t.created_at, t.expires_at, t.last_used_at, \
                 u.name AS user_name, u.administrator, u.created_at AS user_created_at \
                 FROM enlace_tokens t JOIN enlace_users u ON u.id = t.user_id WHERE t.hash = ?",
            )
            .text(hash);
        let found = self.run(find).await?;
        let Some(row) = found.row() else { return Ok(None) };
        let token = token(row)?;
        let user = User {
            id: token.user_id.clone(),
            name: row.text("user_name")?,
            administrator: row.number("administrator")? != 0,
            created_at: row.time("user_created_at")?,
        };
        Ok(Some((token, user)))
    }

    /// Notes that a token was used.
    async fn used(
        &self,
        (token, user): (TokenRecord, User),
        hash: &str,
        now: Timestamp,
    ) -> (TokenRecord, User) {
        if token.last_used_at.is_none_or(|last| now.duration_since(last) >= LAST_USED_STEP) {
            let used = self.statement(LAST_USED).time(now).text(token.id.as_str());
            // A full disk must not close the API.
            if let Err(error) = self.run(used).await {
                tracing::warn!(token = token.id, %error, "that token {} was used could not be noted", token.id);
            }
            if let Some(known) = &self.known {
                known.tokens.change(hash, |(token, _)| token.last_used_at = Some(now));
            }
        }
        (token, user)
    }

    /// Whether a token still opens something.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_lives(&self, id: &str, now: Timestamp) -> Result<bool, DatabaseError> {
        let find = self
            .statement("SELECT id FROM enlace_tokens WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)")
            .text(id)
            .time(now);
        Ok(self.run(find).await?.row().is_some())
    }

    /// A page of tokens by identifier, after an identifier; of one user or of all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens(
        &self,
        user_id: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<TokenRecord>, DatabaseError> {
        let page = self
            .statement(
                "SELECT * FROM enlace_tokens WHERE (? IS NULL OR user_id = ?) AND id > ? ORDER BY id LIMIT ?",
            )
            .text(user_id)
            .text(user_id)
            .text(after)
            .number(i64::from(limit));
        self.run(page).await?.rows.iter().map(token).collect()
    }

    /// How many tokens a user has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_tokens(&self, user_id: &str) -> Result<i64, DatabaseError> {
        let count = self.statement("SELECT count(*) FROM enlace_tokens WHERE user_id = ?").text(user_id);
        self.run(count).await?.count()
    }

    /// Deletes the oldest token of a name, for callers that make a new one each time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_oldest_token(&self, user_id: &str, name: &str) -> Result<bool, DatabaseError> {
        // MySQL takes a limit only from a table of its own.
        let delete = self
            .statement(
                "DELETE FROM enlace_tokens WHERE id IN (SELECT id FROM (SELECT id FROM enlace_tokens \
                 WHERE user_id = ? AND name = ? ORDER BY created_at, id LIMIT 1) AS oldest)",
            )
            .text(user_id)
            .text(name);
        Ok(self.run(delete).await?.one())
    }

    /// Deletes a token; of one user, or whoever's it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_token(&self, id: &str, user_id: Option<&str>) -> Result<bool, DatabaseError> {
        let delete = self
            .statement("DELETE FROM enlace_tokens WHERE id = ? AND (? IS NULL OR user_id = ?)")
            .text(id)
            .text(user_id)
            .text(user_id);
        Ok(self.run(delete).await?.one())
    }
}

fn token(row: &AnyRow) -> Result<TokenRecord, DatabaseError> {
    Ok(TokenRecord {
        id: row.text("id")?,
        user_id: row.text("user_id")?,
        name: row.text("name")?,
        devices: from_json(row.text_or_null("devices")?)?,
        actions: from_json(row.text_or_null("actions")?)?,
        created_at: row.time("created_at")?,
        expires_at: row.time_or_null("expires_at")?,
        last_used_at: row.time_or_null("last_used_at")?,
    })
}

fn to_json(value: &impl Serialize) -> Result<String, DatabaseError> {
    serde_json::to_string(value).map_err(|error| DatabaseError::Corrupt(error.to_string()))
}

/// A restriction that cannot be read is an error: read as none, it would open everything.
fn from_json<T: serde::de::DeserializeOwned>(text: Option<String>) -> Result<Option<T>, DatabaseError> {
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|e| DatabaseError::Corrupt(e.to_string()))
}
