//! What is remembered of the session over a restart.

use enlace_contract::state::Account;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::session::machine::{Memory, Verdict};

const SESSION: &str = "session";

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default)]
    account: Option<Account>,
    #[serde(default)]
    claim: Option<enlace_contract::number::CanonicalNumber>,
    #[serde(default)]
    verdict: Option<Verdict>,
    #[serde(default)]
    pair_request: Option<Timestamp>,
    #[serde(default)]
    doomed: Option<enlace_contract::state::Reason>,
}

impl Store {
    /// What was remembered last.
    ///
    /// # Errors
    /// When the database fails or holds another form.
    pub async fn recall(&self) -> Result<Memory, StoreError> {
        let value: Option<String> = sqlx::query_scalar("SELECT value FROM memory WHERE name = ?")
            .bind(SESSION)
            .fetch_optional(&self.pool)
            .await?;
        let Some(value) = value else { return Ok(Memory::default()) };
        let Stored { account, claim, verdict, pair_request, doomed } =
            serde_json::from_str(&value).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok(Memory { account, claim, verdict, pair_request, doomed })
    }

    /// Remembers over a restart.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remember(&self, memory: Memory) -> Result<(), StoreError> {
        let Memory { account, claim, verdict, pair_request, doomed } = memory;
        let stored = Stored { account, claim, verdict, pair_request, doomed };
        let value = serde_json::to_string(&stored).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        sqlx::query("INSERT INTO memory (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
            .bind(SESSION)
            .bind(value)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

const VERSION: &str = "whatsapp-web-version";

impl Store {
    /// The newest version of WhatsApp Web that was found.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recall_version(&self) -> Result<Option<crate::endpoints::WebVersion>, StoreError> {
        let value: Option<String> = sqlx::query_scalar("SELECT value FROM memory WHERE name = ?")
            .bind(VERSION)
            .fetch_optional(&self.pool)
            .await?;
        value.map(|text| text.parse().map_err(|_| StoreError::Corrupt(text))).transpose()
    }

    /// Remembers the newest version of WhatsApp Web that was found.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remember_version(&self, version: crate::endpoints::WebVersion) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO memory (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
            .bind(VERSION)
            .bind(version.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
