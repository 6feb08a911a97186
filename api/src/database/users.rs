//! People who may use the API.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::statement::Columns as _;
use super::url::Dialect;
use super::{Database, DatabaseError, key, time};

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
    /// Stores a new user; none when the name is taken, without regard to case.
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
        let insert = self
            .statement(
                "INSERT INTO enlace_users (id, name, name_key, password_hash, administrator, created_at) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .text(user.id.as_str())
            .text(name)
            .text(key(name).as_str())
            .text(password_hash)
            .number(i64::from(administrator))
            .time(now);
        match self.run(insert).await {
            Ok(_) => Ok(Some(user)),
            Err(error) if error.is_duplicate() => Ok(None),
            Err(error) => Err(error),
        }
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
        let insert = self
            .statement(
                "INSERT INTO enlace_users (id, name, name_key, password_hash, administrator, created_at) \
                 SELECT ?, ?, ?, ?, 1, ? FROM (SELECT count(*) AS users FROM enlace_users) AS counted WHERE users = 0",
            )
            .text(uuid::Uuid::new_v4().to_string().as_str())
            .text(name)
            .text(key(name).as_str())
            .text(password_hash)
            .time(now);
        match self.run(insert).await {
            Ok(done) => Ok(done.one()),
            // Another process was first.
            Err(error) if error.is_duplicate() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is any user.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_users(&self) -> Result<bool, DatabaseError> {
        Ok(self.run(self.statement("SELECT id FROM enlace_users LIMIT 1")).await?.row().is_some())
    }

    /// The user of a name, without regard to case, with the hash of its password.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user_to_verify(&self, name: &str) -> Result<Option<(User, String)>, DatabaseError> {
        let find = self.statement("SELECT * FROM enlace_users WHERE name_key = ?").text(key(name).as_str());
        let found = self.run(find).await?;
        found.row().map(|row| Ok((user(row)?, row.text("password_hash")?))).transpose()
    }

    /// The user of an identifier.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user(&self, id: &str) -> Result<Option<User>, DatabaseError> {
        let find = self.statement("SELECT * FROM enlace_users WHERE id = ?").text(id);
        self.run(find).await?.row().map(user).transpose()
    }

    /// The oldest administrator.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn first_administrator(&self) -> Result<Option<User>, DatabaseError> {
        let find = self
            .statement("SELECT * FROM enlace_users WHERE administrator = 1 ORDER BY created_at, id LIMIT 1");
        self.run(find).await?.row().map(user).transpose()
    }

    /// A page of users by name, after a name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self, after: &str, limit: u32) -> Result<Vec<User>, DatabaseError> {
        let page = self
            .statement("SELECT * FROM enlace_users WHERE name_key > ? ORDER BY name_key LIMIT ?")
            .text(key(after).as_str())
            .number(i64::from(limit));
        self.run(page).await?.rows.iter().map(user).collect()
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
        let mut transaction = self.begin().await?;
        let replace = self
            .statement("UPDATE enlace_users SET password_hash = ? WHERE id = ?")
            .text(password_hash)
            .text(id);
        let replaced = transaction.run(replace).await?;
        let end = self
            .statement("DELETE FROM enlace_tokens WHERE user_id = ? AND id <> ?")
            .text(id)
            .text(keep.unwrap_or_default());
        transaction.run(end).await?;
        transaction.commit().await?;
        Ok(replaced.one())
    }

    /// Deletes a user with its tokens, instances and queue, unless it is the last administrator.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_user(&self, id: &str) -> Result<bool, DatabaseError> {
        let mut transaction = self.begin().await?;
        if self.dialect != Dialect::Sqlite {
            // Two administrators could delete each other at the same moment.
            let lock =
                self.statement("SELECT id FROM enlace_users WHERE administrator = 1 ORDER BY id FOR UPDATE");
            transaction.run(lock).await?;
        }
        // MySQL reads the table it deletes from only through another one.
        let delete = self
            .statement(
                "DELETE FROM enlace_users WHERE id = ? AND (administrator = 0 OR 1 < \
                 (SELECT administrators FROM (SELECT count(*) AS administrators FROM enlace_users \
                 WHERE administrator = 1) AS counted))",
            )
            .text(id);
        let done = transaction.run(delete).await?;
        transaction.commit().await?;
        Ok(done.one())
    }
}

pub(super) fn user(row: &AnyRow) -> Result<User, DatabaseError> {
    Ok(User {
        id: row.text("id")?,
        name: row.text("name")?,
        administrator: row.number("administrator")? != 0,
        created_at: row.time("created_at")?,
    })
}
