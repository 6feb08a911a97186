//! People who may use the API.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use utoipa::ToSchema;

use super::{Database, DatabaseError, time};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Its identifier, also the value of the label `enlace.dev/owner` of its devices.
    pub id: String,
    /// The name to log in with.
    #[schema(example = "admin")]
    pub name: String,
    /// Whether it may do everything, with every device.
    pub administrator: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Database {
    /// Stores a new user; none when the name is taken.
    ///
    /// # Errors
    /// When the database fails; so for all calls.
    pub async fn create_user(
        &self,
        name: &str,
        password_hash: &str,
        administrator: bool,
        now: Timestamp,
    ) -> Result<Option<User>, DatabaseError> {
        let user = User {
            id: uuid::Uuid::new_v4().to_string(),
            name: name.to_owned(),
            administrator,
            created_at: time(now.as_millisecond())?,
        };
        let done = sqlx::query(
            "INSERT INTO enlace_users (id, name, password_hash, administrator, created_at) \
             VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
        )
        .bind(&user.id)
        .bind(name)
        .bind(password_hash)
        .bind(administrator)
        .bind(now.as_millisecond())
        .execute(&self.pool)
        .await?;
        Ok((done.rows_affected() == 1).then_some(user))
    }

    /// The same, only when there is no user at all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_first_user(
        &self,
        name: &str,
        password_hash: &str,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let done = sqlx::query(
            "INSERT INTO enlace_users (id, name, password_hash, administrator, created_at) \
             SELECT ?, ?, ?, 1, ? WHERE NOT EXISTS (SELECT 1 FROM enlace_users)",
        )
        .bind(uuid::Uuid::new_v4().to_string())
        .bind(name)
        .bind(password_hash)
        .bind(now.as_millisecond())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Whether there is any user.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_users(&self) -> Result<bool, DatabaseError> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM enlace_users)").fetch_one(&self.pool).await?)
    }

    /// The user of a name, with the hash of its password.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user_to_verify(&self, name: &str) -> Result<Option<(User, String)>, DatabaseError> {
        let row = sqlx::query("SELECT * FROM enlace_users WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| Ok((user(&row)?, row.try_get("password_hash")?))).transpose()
    }

    /// The user of an identifier.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user(&self, id: &str) -> Result<Option<User>, DatabaseError> {
        let row = sqlx::query("SELECT * FROM enlace_users WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(user).transpose()
    }

    /// The oldest administrator.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn first_administrator(&self) -> Result<Option<User>, DatabaseError> {
        let row =
            sqlx::query("SELECT * FROM enlace_users WHERE administrator = 1 ORDER BY created_at, id LIMIT 1")
                .fetch_optional(&self.pool)
                .await?;
        row.as_ref().map(user).transpose()
    }

    /// A page of users by name, after a name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self, after: &str, limit: u32) -> Result<Vec<User>, DatabaseError> {
        let rows = sqlx::query("SELECT * FROM enlace_users WHERE name > ? ORDER BY name LIMIT ?")
            .bind(after)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(user).collect()
    }

    /// Replaces a password. Every token of the user but `keep` ends, since whoever knew the old password may have made one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_password(
        &self,
        id: &str,
        password_hash: &str,
        keep: Option<&str>,
    ) -> Result<bool, DatabaseError> {
        let mut transaction = self.pool.begin().await?;
        let done = sqlx::query("UPDATE enlace_users SET password_hash = ? WHERE id = ?")
            .bind(password_hash)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM enlace_tokens WHERE user_id = ? AND id <> ?")
            .bind(id)
            .bind(keep.unwrap_or_default())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes a user with its tokens, unless it is the last administrator.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_user(&self, id: &str) -> Result<bool, DatabaseError> {
        let done = sqlx::query(
            "DELETE FROM enlace_users WHERE id = ? AND (administrator = 0 \
             OR (SELECT count(*) FROM enlace_users WHERE administrator = 1) > 1)",
        )
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

pub(super) fn user(row: &SqliteRow) -> Result<User, DatabaseError> {
    Ok(User {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        administrator: row.try_get("administrator")?,
        created_at: time(row.try_get("created_at")?)?,
    })
}
