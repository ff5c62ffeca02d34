//! From staged to visible.

use crate::{durable, error::LakeError, layout::Lake};

/// Moves the staged tables of a run to their snapshots' folders. Nobody sees them there until `views.sql` names them.
/// After a crash it can be called again.
///
/// # Errors
/// A staged table is gone, or the folder cannot be written.
pub fn publish(lake: &Lake, source: &str, run: &str, tables: &[String]) -> Result<(), LakeError> {
    let staged = lake.run_dir(run).join("tables");
    for table in tables {
        durable::move_into_place(&staged.join(table), &lake.snapshot_dir(table, source, run))?;
    }
    Ok(())
}
