//! The encryption of a lake's tables.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fhirvest_lake::encryption::TableKey;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Settings, secret::SecretRef};

/// What the tables of sensitive lakes are encrypted with. A lake is encrypted from its beginning or not at all, and keeps
/// its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncryptionConfig {
    /// Where the key is: 32 random bytes in base64, as `openssl rand -base64 32` makes them.
    pub key: SecretRef,
}

impl EncryptionConfig {
    /// Fetches the key.
    ///
    /// # Errors
    /// It cannot be had, or is no such key.
    pub fn table_key(&self) -> Result<TableKey, ConfigError> {
        let text = self.key.resolve().map_err(|source| ConfigError::EncryptionKey { source })?;
        let bytes = STANDARD.decode(text.expose_secret().trim()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(TableKey::new).ok_or(ConfigError::NoEncryptionKey)
    }
}

impl Settings {
    /// What the tables of the job's lake are encrypted with; nothing for public lakes.
    ///
    /// # Errors
    /// The key cannot be had, or is none.
    pub fn table_key(&self) -> Result<Option<TableKey>, ConfigError> {
        self.encryption.as_ref().filter(|_| self.sensitive).map(EncryptionConfig::table_key).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_in_base64_and_is_not_shown_where_it_is_not() {
        let of =
            |text: &str| EncryptionConfig { key: SecretRef::Command(vec!["printf".into(), text.into()]) }.table_key();
        assert_eq!(of("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n").unwrap(), TableKey::new([7; 32]));
        for wrong in ["0123456789abcdef0123456789abcdef", "BwcHBwcHBwcHBwcHBwcHBw==", "no key"] {
            let refused = of(wrong).unwrap_err().to_string();
            assert!(refused.contains("openssl rand -base64 32") && !refused.contains(wrong), "{refused}");
        }
    }
}
