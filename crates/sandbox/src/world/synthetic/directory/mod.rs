//! A provider directory by the Plan-Net guide: all eight resource types, networks being Organizations of type `ntwk`.

mod organizations;
mod people;
mod places;
mod plans;

use super::elements::{NpiRange, npi};
use super::shelf::Shelf;
use super::vocabulary::{NETWORKS, PAYERS};
use crate::world::table::ResourceTable;
pub(super) use places::{area, delivery, position};

/// How many of everything there is, and who belongs to whom by number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Census {
    pub(super) seed: u64,
    pub(super) practitioners: usize,
    pub(super) organizations: usize,
    pub(super) services: usize,
    pub(super) affiliations: usize,
    pub(super) endpoints: usize,
    pub(super) plans: usize,
}

/// Every organization has this many locations.
const LOCATIONS_EACH: usize = 2;

impl Census {
    pub(super) fn new(seed: u64, size: usize) -> Self {
        // Larger worlds have larger practices.
        let organizations = (size / 8).min(1_000 + size / 16).max(12);
        Self {
            seed,
            practitioners: size,
            organizations,
            services: organizations + organizations / 2,
            affiliations: organizations + organizations / 2,
            endpoints: (organizations / 3).max(4),
            plans: (organizations / 20).clamp(16, 200),
        }
    }

    fn locations(&self) -> usize {
        self.organizations * LOCATIONS_EACH
    }

    /// The `which`-th location of an organization.
    fn location_of(&self, organization: usize, which: usize) -> usize {
        organization + (which % LOCATIONS_EACH) * self.organizations
    }
}

fn practitioner_id(number: usize) -> String {
    format!("practitioner-{}", npi(NpiRange::Practitioner, number))
}

fn organization_id(number: usize) -> String {
    format!("organization-{}", npi(NpiRange::Organization, number))
}

fn location_id(number: usize) -> String {
    format!("location-{number:06}")
}

fn service_id(number: usize) -> String {
    format!("healthcareservice-{number:06}")
}

fn endpoint_id(number: usize) -> String {
    format!("endpoint-{number:05}")
}

fn network_id(number: usize) -> String {
    format!("network-{:03}", number % NETWORKS.len())
}

fn payer_id(number: usize) -> String {
    format!("payer-{:03}", number % PAYERS.len())
}

/// The state areas that networks and plans cover: id, name and a box of degrees (west, south, east, north).
pub(super) const AREAS: [(&str, &str, &str, [&str; 4]); 3] = [
    ("area-pa", "Pennsylvania", "PA", ["-80.519", "39.720", "-74.690", "42.270"]),
    ("area-wv", "West Virginia", "WV", ["-82.645", "37.201", "-77.719", "40.639"]),
    ("area-de", "Delaware", "DE", ["-75.789", "38.451", "-75.049", "39.840"]),
];

/// All eight tables.
pub(super) fn tables(seed: u64, size: usize) -> Vec<ResourceTable> {
    let census = Census::new(seed, size);
    let mut tables = Vec::new();
    let mut fill = |kind: &'static str, write: &dyn Fn(&mut Shelf)| {
        let mut shelf = Shelf::new(kind);
        write(&mut shelf);
        tables.push(shelf.close());
    };
    fill("Endpoint", &|shelf| plans::endpoints(shelf, &census));
    fill("HealthcareService", &|shelf| places::services(shelf, &census));
    fill("InsurancePlan", &|shelf| plans::insurance_plans(shelf, &census));
    fill("Location", &|shelf| places::locations(shelf, &census));
    fill("Organization", &|shelf| organizations::organizations(shelf, &census));
    fill("OrganizationAffiliation", &|shelf| organizations::affiliations(shelf, &census));
    fill("Practitioner", &|shelf| people::practitioners(shelf, &census));
    fill("PractitionerRole", &|shelf| people::roles(shelf, &census));
    tables
}
