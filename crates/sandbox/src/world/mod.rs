//! What the sandbox serves: resources by mount and type, immutable, in memory.

mod folder;
mod synthetic;
pub(crate) mod table;

use std::path::Path;
use std::sync::Arc;

use crate::error::SandboxError;
use crate::search::cursor::checksum;
use table::ResourceTable;

/// Everything one sandbox serves. Build it once, share it in an [`Arc`].
#[derive(Debug)]
pub struct World {
    mounts: Vec<Mount>,
    seal: u64,
}

/// One API of the world: a FHIR base path with its resource types.
#[derive(Debug)]
pub struct Mount {
    /// The path of the FHIR base below the listener, e.g. `/highmark/provider-directory`.
    pub path: String,
    /// What the API is, for people.
    pub title: String,
    tables: Vec<Arc<ResourceTable>>,
    members: Vec<String>,
}

/// The mounts that hold members' data, which real publishers give out with the member's consent only. Their own
/// sandboxes hold nobody's data and ask for a key.
const GUARDED: [&str; 5] = [
    "/highmark/patient-access",
    "/highmark/esi-patient-access",
    "/bcbs-wyoming/patient-access",
    "/bcbs-wyoming/prime-explanation-of-benefits",
    FOLDER,
];

/// The mount of the caller's own data.
const FOLDER: &str = "/fhir";

impl World {
    /// A made-up payer of `size` practitioners, the same for the same seed and size.
    ///
    /// Mounts: `/highmark/provider-directory` (Plan-Net, all eight resource types),
    /// `/highmark/esi-provider-directory` (a pharmacy directory in the same profiles), `/highmark/esi-formulary` (US Drug
    /// Formulary STU 2), `/highmark/esi-formulary-stu1` (STU 1), and six patient-access APIs with a few members each:
    /// `patient-access` and `sandbox-patient-access` below `/highmark` and `/bcbs-wyoming`,
    /// `/highmark/esi-patient-access` and `/bcbs-wyoming/prime-explanation-of-benefits`. Size 400 makes about 5,000
    /// resources, size 100,000 about a million. Some rows are as untidy as those of real payers: see the crate's documentation.
    #[must_use]
    pub fn synthetic(seed: u64, size: usize) -> Self {
        Self::new(synthetic::mounts(seed, size), &format!("synthetic {seed} {size}"))
    }

    /// The caller's own resources from all `.ndjson`, `.ndjson.gz` and `.ndjson.zst` files of a folder (whatever their
    /// names; the type is read from `resourceType`), behind the one mount `fhir`. Each resource is served as the very
    /// text of its line.
    ///
    /// # Errors
    /// When a file cannot be read, a line is not a resource with type and id, or there is no resource at all.
    pub fn from_dir(dir: &Path) -> Result<Self, SandboxError> {
        let tables = folder::read(dir)?;
        let title = format!("NDJSON from {}", dir.display());
        Ok(Self::new(vec![Mount::new(FOLDER, &title, tables)], "folder"))
    }

    fn new(mounts: Vec<Mount>, name: &str) -> Self {
        let seal = mounts
            .iter()
            .flat_map(|mount| &mount.tables)
            .fold(checksum(0, name), |seal, table| checksum(seal, &format!("{}{}", table.name(), table.len())));
        Self { mounts, seal }
    }

    /// The APIs of this world.
    #[must_use]
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// The number of resources over all mounts.
    #[must_use]
    pub fn resource_count(&self) -> usize {
        self.mounts.iter().flat_map(Mount::types).map(|(_, count)| count).sum()
    }

    /// The text of every resource of one type of one mount, in stored order: what a complete crawl must end with.
    pub fn resources<'w>(&'w self, mount: &str, resource_type: &str) -> impl Iterator<Item = &'w str> + use<'w> {
        let table = self
            .mounts
            .iter()
            .find(|known| known.path == mount)
            .and_then(|mount| mount.tables.get(mount.table_number(resource_type)?));
        table
            .into_iter()
            .flat_map(|table| (0..u32::try_from(table.len()).unwrap_or(u32::MAX)).map(move |row| table.text(row)))
    }

    /// A number that differs between worlds, and binds cursors to theirs.
    pub(crate) fn seal(&self) -> u64 {
        self.seal
    }
}

impl Mount {
    pub(crate) fn new(path: &str, title: &str, tables: Vec<ResourceTable>) -> Self {
        let tables = tables.into_iter().map(Arc::new).collect();
        Self { path: path.to_owned(), title: title.to_owned(), tables, members: Vec::new() }
    }

    /// The same API with these members: it is about persons then.
    pub(crate) fn with_members(self, members: Vec<String>) -> Self {
        Self { members, ..self }
    }

    /// Ids of the members whose data a patient-access API has; none where an API is not about persons.
    #[must_use]
    pub fn members(&self) -> &[String] {
        &self.members
    }

    /// Resource types with their counts.
    pub fn types(&self) -> impl Iterator<Item = (&str, usize)> {
        self.tables.iter().map(|table| (table.name(), table.len()))
    }

    /// Whether members sign in to it, where the sandbox has a sign-in.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        GUARDED.contains(&self.path.as_str())
    }

    pub(crate) fn tables(&self) -> &[Arc<ResourceTable>] {
        &self.tables
    }

    pub(crate) fn table_number(&self, resource_type: &str) -> Option<usize> {
        self.tables.iter().position(|table| table.name() == resource_type)
    }

    /// Table and row of one resource.
    pub(crate) fn place(&self, resource_type: &str, id: &str) -> Option<(usize, u32)> {
        let number = self.table_number(resource_type)?;
        let row = self.tables.get(number)?.find(id)?;
        Some((number, row))
    }
}
