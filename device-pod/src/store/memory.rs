//! What is remembered of the session over a restart: one JSON value for each name.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Store, StoreError};
use crate::endpoints::WebVersion;
use crate::session::machine::Memory;

const SESSION: &str = "session";
const VERSION: &str = "whatsapp-web-version";

impl Store {
    /// What was remembered last.
    ///
    /// # Errors
    /// When the database fails or holds another form.
    pub async fn recall(&self) -> Result<Memory, StoreError> {
        Ok(self.value(SESSION).await?.unwrap_or_default())
    }

    /// Remembers over a restart.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remember(&self, memory: &Memory) -> Result<(), StoreError> {
        self.set_value(SESSION, memory).await
    }

    /// Makes what is remembered that of a device which takes this directory over from another one: the session may have a client there, so
    /// nothing that was decided about it holds here.
    ///
    /// # Errors
    /// When the database fails or holds another form.
    pub async fn disown(&self) -> Result<(), StoreError> {
        let memory = self.recall().await?;
        self.remember(&Memory { claim: None, doomed: None, restored: true, ..memory }).await
    }

    /// The newest version of WhatsApp Web that was found.
    ///
    /// # Errors
    /// When the database fails or holds another form.
    pub async fn recall_version(&self) -> Result<Option<WebVersion>, StoreError> {
        let text: Option<String> = self.value(VERSION).await?;
        text.map(|text| text.parse().map_err(|_| StoreError::Corrupt(text))).transpose()
    }

    /// Remembers the newest version of WhatsApp Web that was found.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remember_version(&self, version: WebVersion) -> Result<(), StoreError> {
        self.set_value(VERSION, &version.to_string()).await
    }

    async fn value<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let value: Option<String> = sqlx::query_scalar("SELECT value FROM memory WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        let read = value.map(|value| serde_json::from_str(&value)).transpose();
        read.map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    async fn set_value(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let value = serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        sqlx::query(
            "INSERT INTO memory (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
