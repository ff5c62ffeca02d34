//! A made-up payer, repeatable from a seed: one module per guide.

mod dice;
mod directory;
mod elements;
mod formulary;
mod json;
mod members;
mod pharmacy;
mod shelf;
mod vocabulary;

use super::Mount;

/// Every mount of the synthetic world.
pub(super) fn mounts(seed: u64, size: usize) -> Vec<Mount> {
    let mut mounts = vec![
        Mount::new("/highmark/provider-directory", "Provider directory (Plan-Net)", directory::tables(seed, size)),
        Mount::new(
            "/highmark/esi-provider-directory",
            "Pharmacy directory (Plan-Net profiles)",
            pharmacy::tables(seed, size),
        ),
        Mount::new(
            "/highmark/esi-formulary",
            "Drug formulary (US Drug Formulary STU 2)",
            formulary::stu2::tables(seed, size),
        ),
        Mount::new(
            "/highmark/esi-formulary-stu1",
            "Drug formulary (US Drug Formulary STU 1.1)",
            formulary::stu1::tables(seed, size),
        ),
    ];
    mounts.extend(members::mounts(seed, size));
    mounts
}
