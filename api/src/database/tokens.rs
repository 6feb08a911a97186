//! What opens the API.
//!
//! A token is 32 random bytes in hexadecimal. Only its SHA-256 is stored, and a token is found by it: what an attacker can measure of the
//! comparison says something of a hash, and nothing of a token.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use utoipa::ToSchema;

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
        sqlx::query("DELETE FROM enlace_tokens WHERE user_id = ? AND expires_at <= ?")
            .bind(user_id)
            .bind(now.as_millisecond())
            .execute(&self.pool)
            .await?;
        let row = sqlx::query(
            "INSERT INTO enlace_tokens (id, user_id, name, hash, devices, actions, created_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        )
        .bind(uuid::Uuid::new_v4().to_string())
        .bind(user_id)
        .bind(name)
        .bind(hash)
        .bind(devices.as_ref().map(to_json).transpose()?)
        .bind(actions.as_ref().map(to_json).transpose()?)
        .bind(now.as_millisecond())
        .bind(expires_at.map(Timestamp::as_millisecond))
        .fetch_one(&self.pool)
        .await?;
        token(&row)
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
        let row = sqlx::query(
            "SELECT * FROM enlace_tokens WHERE hash = ? AND (expires_at IS NULL OR expires_at > ?)",
        )
        .bind(hash)
        .bind(now.as_millisecond())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let token = token(&row)?;
        let Some(user) = self.user(&token.user_id).await? else { return Ok(None) };
        if token.last_used_at.is_none_or(|last| now.duration_since(last) >= LAST_USED_STEP) {
            let used = sqlx::query("UPDATE enlace_tokens SET last_used_at = ? WHERE id = ?")
                .bind(now.as_millisecond())
                .bind(&token.id)
                .execute(&self.pool)
                .await;
            // A full disk must not close the API.
            if let Err(error) = used {
                tracing::warn!(token = token.id, %error, "that token {} was used could not be noted", token.id);
            }
        }
        Ok(Some((token, user)))
    }

    /// Whether a token still opens something.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_lives(&self, id: &str, now: Timestamp) -> Result<bool, DatabaseError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM enlace_tokens WHERE id = ? AND (expires_at IS NULL OR expires_at > ?))",
        )
        .bind(id)
        .bind(now.as_millisecond())
        .fetch_one(&self.pool)
        .await?)
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
        let rows = sqlx::query(
            "SELECT * FROM enlace_tokens WHERE (? IS NULL OR user_id = ?) AND id > ? ORDER BY id LIMIT ?",
        )
        .bind(user_id)
        .bind(user_id)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(token).collect()
    }

    /// How many tokens a user has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_tokens(&self, user_id: &str) -> Result<i64, DatabaseError> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM enlace_tokens WHERE user_id = ?")
            .bind(user_id)
            .fetch_one(&self.pool)
            .await?)
    }

    /// Deletes the oldest token of a name, for callers that make a new one each time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_oldest_token(&self, user_id: &str, name: &str) -> Result<bool, DatabaseError> {
        let done = sqlx::query(
            "DELETE FROM enlace_tokens WHERE id IN (SELECT id FROM enlace_tokens \
             WHERE user_id = ? AND name = ? ORDER BY created_at, id LIMIT 1)",
        )
        .bind(user_id)
        .bind(name)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes a token; of one user, or whoever's it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_token(&self, id: &str, user_id: Option<&str>) -> Result<bool, DatabaseError> {
        let done = sqlx::query("DELETE FROM enlace_tokens WHERE id = ? AND (? IS NULL OR user_id = ?)")
            .bind(id)
            .bind(user_id)
            .bind(user_id)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}

fn token(row: &SqliteRow) -> Result<TokenRecord, DatabaseError> {
    let optional = |column: &str| -> Result<Option<Timestamp>, DatabaseError> {
        row.try_get::<Option<i64>, _>(column)?.map(time).transpose()
    };
    Ok(TokenRecord {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        name: row.try_get("name")?,
        devices: from_json(row.try_get("devices")?)?,
        actions: from_json(row.try_get("actions")?)?,
        created_at: time(row.try_get("created_at")?)?,
        expires_at: optional("expires_at")?,
        last_used_at: optional("last_used_at")?,
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
