//! From staged to visible.

use crate::{durable, error::LakeError, layout::Lake};

/// Moves the staged tables of a run, each with the name of its snapshot, to their folders. Nobody sees them there until `views.sql` names them.
///
/// To be called for snapshots that the ledger does not know yet: what is in their places was left by an earlier attempt
/// that ended before it was noted, was never seen by anybody, and is replaced. After a crash it can be called again.
///
/// # Errors
/// A staged table is gone, or the folder cannot be written.
pub fn publish(lake: &Lake, source: &str, run: &str, tables: &[(&str, &str)]) -> Result<(), LakeError> {
    for (table, snapshot) in tables {
        let (staged, place) = (lake.staged_dir(run, table), lake.snapshot_dir(table, source, snapshot));
        if staged.exists() {
            durable::remove_dir(&place)?;
        }
        durable::move_into_place(&staged, &place)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use camino::Utf8Path;

    use super::*;
    use crate::Sensitivity;

    #[test]
    fn what_an_earlier_attempt_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::at(Utf8Path::from_path(dir.path()).unwrap());
        lake.create(Sensitivity::Public).unwrap();
        let place = lake.snapshot_dir("t", "s", "r");
        for text in ["first", "second"] {
            let staged = lake.staged_dir("r", "t");
            fs::create_dir_all(&staged).unwrap();
            fs::write(staged.join("part-00000.parquet"), text).unwrap();
            publish(&lake, "s", "r", &[("t", "r")]).unwrap();
            assert_eq!(fs::read_to_string(place.join("part-00000.parquet")).unwrap(), text);
        }
        // Once moved, moving again changes nothing; what was never there is told.
        publish(&lake, "s", "r", &[("t", "r")]).unwrap();
        assert!(matches!(publish(&lake, "s", "r", &[("u", "r")]), Err(LakeError::Missing { .. })));
    }
}
