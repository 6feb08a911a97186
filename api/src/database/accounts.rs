//! Users as the Spanish-language API sees them: with a phone number or an e-mail address to log in with.
//!
//! An account is a user that is no administrator. Its tokens are in [`tokens`](super::tokens).

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::statement::Columns as _;
use super::users::user;
use super::{Database, DatabaseError, Unique, User, WriteError, key, time};

/// A user with what the Spanish-language API knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: User,
    /// Its phone number.
    pub phone_number: Option<String>,
    /// Its e-mail address, as it was given.
    pub email: Option<String>,
    /// What it is called.
    pub display_name: Option<String>,
}

/// An account to be made. The texts fit when they are not longer than the constants say, in characters.
#[derive(Clone, Copy, Debug)]
pub struct NewAccount<'a> {
    /// The user's name, for the REST API as well: its phone number or e-mail address is a good one.
    pub name: &'a str,
    /// Its phone number.
    pub phone_number: Option<&'a str>,
    /// Its e-mail address.
    pub email: Option<&'a str>,
    /// What it is called.
    pub display_name: Option<&'a str>,
    /// The hash of its password.
    pub password_hash: &'a str,
}

impl NewAccount<'_> {
    /// The longest phone number.
    pub const MAX_PHONE_NUMBER: usize = 20;
    /// The longest name, e-mail address or display name.
    pub const MAX_TEXT: usize = 255;
}

impl Database {
    /// Stores a new account.
    ///
    /// # Errors
    /// [`Unique::PhoneNumber`], [`Unique::Email`] or [`Unique::Name`] when it is another user's; when the database fails, so for all calls.
    pub async fn create_account(&self, new: NewAccount<'_>, now: Timestamp) -> Result<Account, WriteError> {
        let NewAccount { name, phone_number, email, display_name, password_hash } = new;
        let account = Account {
            user: User {
                id: uuid::Uuid::new_v4().to_string(),
                name: name.to_owned(),
                administrator: false,
                created_at: time(now.as_millisecond())?,
            },
            phone_number: phone_number.map(str::to_owned),
            email: email.map(str::to_owned),
            display_name: display_name.map(str::to_owned),
        };
        let insert = self
            .statement(
                "INSERT INTO enlace_users (id, name, name_key, password_hash, administrator, phone_number, \
                 email, email_key, display_name, created_at) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
            )
            .text(account.user.id.as_str())
            .text(name)
            .text(key(name).as_str())
            .text(password_hash)
            .text(phone_number)
            .text(email)
            .text(email.map(key).as_deref())
            .text(display_name)
            .time(now);
        match self.run(insert).await {
            Ok(_) => Ok(account),
            Err(error) if error.is_duplicate() => {
                Err(WriteError::Taken(self.taken(phone_number, email).await?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Which of an account's unique values another one has. Drivers tell it in texts only.
    async fn taken(&self, phone_number: Option<&str>, email: Option<&str>) -> Result<Unique, DatabaseError> {
        for (identifier, unique) in [(phone_number, Unique::PhoneNumber), (email, Unique::Email)] {
            if let Some(identifier) = identifier
                && self.account_by_identifier(identifier).await?.is_some()
            {
                return Ok(unique);
            }
        }
        Ok(Unique::Name)
    }

    /// The account whose phone number or e-mail address this is, with the hash of its password. Case does not matter in an address.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_by_identifier(
        &self,
        identifier: &str,
    ) -> Result<Option<(Account, String)>, DatabaseError> {
        // The phone number first: no address is taken for another's number.
        let find = self
            .statement(
                "SELECT * FROM enlace_users WHERE phone_number = ? OR email_key = ? \
                 ORDER BY CASE WHEN phone_number = ? THEN 0 ELSE 1 END LIMIT 1",
            )
            .text(identifier)
            .text(key(identifier).as_str())
            .text(identifier);
        let found = self.run(find).await?;
        found.row().map(|row| Ok((account(row)?, row.text("password_hash")?))).transpose()
    }

    /// The account of a user's identifier; every user has one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account(&self, user_id: &str) -> Result<Option<Account>, DatabaseError> {
        let find = self.statement("SELECT * FROM enlace_users WHERE id = ?").text(user_id);
        self.run(find).await?.row().map(account).transpose()
    }
}

fn account(row: &AnyRow) -> Result<Account, DatabaseError> {
    Ok(Account {
        user: user(row)?,
        phone_number: row.text_or_null("phone_number")?,
        email: row.text_or_null("email")?,
        display_name: row.text_or_null("display_name")?,
    })
}
