//! Parquet modular encryption: one key for footers and columns, AES-256-GCM. Decision 033 has what DuckDB reads of it.

use std::{fmt, sync::Arc};

use parquet::{
    arrow::arrow_reader::ArrowReaderOptions,
    encryption::{decrypt::FileDecryptionProperties, encrypt::FileEncryptionProperties},
    errors::ParquetError,
    file::properties::WriterPropertiesBuilder,
};

/// The name that DuckDB knows the key by in a session: `PRAGMA add_parquet_key('fhirvest', '…')`.
pub const KEY_NAME: &str = "fhirvest";

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// What the fingerprint of a key is derived for.
const FINGERPRINT: &str = "fhirvest 2026-11-24 fingerprint of a table key";

/// Bytes of a page that is never reached: a column chunk has one data page, and one of its dictionary.
const ONE_PAGE: usize = 1 << 30;

/// The key of a lake's tables. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TableKey([u8; KEY_BYTES]);

impl fmt::Debug for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TableKey(…)")
    }
}

impl TableKey {
    /// A key of random bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// What tells a key from another without telling the key: half of a BLAKE3 hash made for this alone.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        blake3::Hash::from(blake3::derive_key(FINGERPRINT, &self.0)).to_hex()[..32].to_owned()
    }

    /// Files that are encrypted, in the one layout that DuckDB (1.5 to 2.0) reads: a column chunk has one data page, and
    /// there are no bloom filters.
    pub(crate) fn encrypt(&self, builder: WriterPropertiesBuilder) -> Result<WriterPropertiesBuilder, ParquetError> {
        let properties = FileEncryptionProperties::builder(self.0.to_vec()).build()?;
        Ok(builder
            .set_data_page_size_limit(ONE_PAGE)
            .set_data_page_row_count_limit(usize::MAX)
            .set_dictionary_page_size_limit(ONE_PAGE)
            .set_bloom_filter_enabled(false)
            .with_file_encryption_properties(properties))
    }
}

/// How files are read, which are encrypted or not.
pub(crate) fn reading(key: Option<&TableKey>) -> Result<ArrowReaderOptions, ParquetError> {
    let options = ArrowReaderOptions::new();
    let Some(TableKey(bytes)) = key else { return Ok(options) };
    let properties: Arc<FileDecryptionProperties> = FileDecryptionProperties::builder(bytes.to_vec()).build()?;
    Ok(options.with_file_decryption_properties(properties))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown_and_has_a_fingerprint_of_its_own() {
        let (one, other) = (TableKey::new([7; 32]), TableKey::new([8; 32]));
        assert_eq!(format!("{one:?}"), "TableKey(…)");
        assert_eq!(one.fingerprint(), TableKey::new([7; 32]).fingerprint());
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.fingerprint().len(), 32);
    }
}
