//! A pharmacy directory in the Plan-Net profiles, as a benefit manager serves it: no practitioners; the backbone is
//! OrganizationAffiliation with the role `pharmacy`, one per store and service kind.

use super::dice::Dice;
use super::directory::{AREAS, area, delivery, position};
use super::elements::{
    Address, ID_TYPE, NUCC, NpiRange, TelecomExtras, available_time, concept, concept_item, extension, meta,
    new_patients, npi, npi_identifier, phone, plan_net_codes, plan_net_extension, reference, reference_item, telecom,
};
use super::json::Json;
use super::shelf::Shelf;
use crate::world::table::ResourceTable;

/// Chains; every store beyond those of the chains is independent.
const CHAINS: [&str; 6] =
    ["Allegheny Drug", "Corner Apothecary", "GreenLeaf Pharmacy", "MedPoint", "Ridge Rx", "Sunrise Drugs"];
/// Stores that belong to a chain, in a hundred.
const CHAIN_SHARE: usize = 70;

const NETWORKS: [&str; 4] = ["National Plus Retail", "Advantage Preferred 90", "Specialty Exclusive", "Home Delivery"];

/// A kind of pharmacy service: key, NUCC code and display, whether it is delivered from afar.
#[derive(Debug, Clone, Copy)]
struct Trade {
    key: &'static str,
    code: &'static str,
    display: &'static str,
    remote: bool,
}

const fn trade(key: &'static str, code: &'static str, display: &'static str, remote: bool) -> Trade {
    Trade { key, code, display, remote }
}

const RETAIL: Trade = trade("retail", "3336C0003X", "Community/Retail Pharmacy", false);
const COMPOUNDING: Trade = trade("compounding", "3336C0004X", "Compounding Pharmacy", false);
const MAIL: Trade = trade("mail", "3336M0002X", "Mail Order Pharmacy", true);
const SPECIALTY: Trade = trade("specialty", "3336S0011X", "Specialty Pharmacy", true);
const INFUSION: Trade = trade("infusion", "3336H0001X", "Home Infusion Therapy Pharmacy", true);
const LONG_TERM_CARE: Trade = trade("ltc", "3336L0003X", "Long Term Care Pharmacy", false);

struct Pharmacies {
    seed: u64,
    stores: usize,
}

/// One store, worked out from its number.
struct Store {
    number: usize,
    owner: Owner,
    trades: Vec<Trade>,
    address: Address,
    name: String,
}

#[derive(Clone, Copy)]
enum Owner {
    Chain(usize),
    Independent(usize),
}

impl Owner {
    fn id(self) -> String {
        match self {
            Self::Chain(number) => format!("chain-{number:02}"),
            Self::Independent(store) => format!("pharmacy-{store:06}"),
        }
    }
}

impl Pharmacies {
    fn store(&self, number: usize) -> Store {
        let mut dice = Dice::new(self.seed, "store", number);
        let address = Address::new(&mut dice);
        let chain = dice.below(CHAINS.len());
        let (owner, name) = if dice.below(100) < CHAIN_SHARE {
            let brand = CHAINS.get(chain).copied().unwrap_or("");
            (Owner::Chain(chain), format!("{brand} #{:04}", 100 + number))
        } else {
            (Owner::Independent(number), format!("{} Family Pharmacy", address.city.name))
        };
        let main = match number % 24 {
            7 => MAIL,
            15 => SPECIALTY,
            22 => LONG_TERM_CARE,
            _ => RETAIL,
        };
        let mut trades = vec![main];
        if dice.one_in(5) && !main.remote {
            trades.push(COMPOUNDING);
        }
        if dice.one_in(16) {
            trades.push(INFUSION);
        }
        Store { number, owner, trades, address, name }
    }
}

impl Store {
    fn location_id(&self) -> String {
        format!("store-{:06}", self.number)
    }

    fn service_id(&self, trade: Trade) -> String {
        format!("{}-{:06}", trade.key, self.number)
    }

    /// Open around the clock: one in ten retail stores.
    fn always_open(&self) -> bool {
        self.number % 10 == 3
    }
}

/// The tables of the pharmacy directory. Small worlds have as many stores as practitioners; in large ones stores are
/// few beside them, as they are in life.
pub(super) fn tables(seed: u64, size: usize) -> Vec<ResourceTable> {
    let all = Pharmacies { seed, stores: size.min(2_000 + size / 50).max(24) };
    let mut tables = Vec::new();
    let mut fill = |kind: &'static str, write: &dyn Fn(&mut Shelf)| {
        let mut shelf = Shelf::new(kind);
        write(&mut shelf);
        tables.push(shelf.close());
    };
    fill("Endpoint", &|shelf| endpoints(shelf, &all));
    fill("HealthcareService", &|shelf| services(shelf, &all));
    fill("InsurancePlan", &|shelf| plans(shelf, &all));
    fill("Location", &|shelf| locations(shelf, &all));
    fill("Organization", &|shelf| organizations(shelf, &all));
    fill("OrganizationAffiliation", &|shelf| affiliations(shelf, &all));
    tables
}

fn network_target(number: usize) -> (String, &'static str) {
    let number = number % NETWORKS.len();
    (format!("Organization/rx-network-{number}"), NETWORKS.get(number).copied().unwrap_or(""))
}

fn organizations(shelf: &mut Shelf, all: &Pharmacies) {
    shelf.put("esi", |json| {
        let mut dice = Dice::new(all.seed, "manager", 0);
        meta(json, &mut dice, &plan_net_extension("plannet-Organization"));
        json.array("extension", |json| {
            extension(json, &plan_net_extension("org-description"), |json| {
                json.text("valueString", "A made-up pharmacy benefit manager of the fhirvest sandbox.");
            });
        });
        json.flag("active", true);
        org_type(json, ("payer", "Payer"));
        json.text("name", "Sandbox Pharmacy Benefit Manager");
    });
    for (number, name) in NETWORKS.iter().enumerate() {
        let mut dice = Dice::new(all.seed, "rx-network", number);
        shelf.put(&format!("rx-network-{number}"), |json| network(json, &mut dice, number, name));
    }
    for (number, name) in CHAINS.iter().enumerate() {
        let mut dice = Dice::new(all.seed, "chain", number);
        let own = npi(NpiRange::Pharmacy, (1 << 23) + number);
        shelf.put(&Owner::Chain(number).id(), |json| owner(json, &mut dice, name, &own, None));
    }
    for number in 0..all.stores {
        let store = all.store(number);
        if let Owner::Independent(_) = store.owner {
            let mut dice = Dice::new(all.seed, "independent", number);
            let own = npi(NpiRange::Pharmacy, number);
            shelf.put(&store.owner.id(), |json| owner(json, &mut dice, &store.name, &own, Some(number)));
        }
    }
}

fn org_type(json: &mut Json, code: (&str, &str)) {
    json.array("type", |json| concept_item(json, &plan_net_codes("OrgTypeCS"), code));
}

fn network(json: &mut Json, dice: &mut Dice, number: usize, name: &str) {
    meta(json, dice, &plan_net_extension("plannet-Network"));
    json.array("extension", |json| {
        extension(json, &plan_net_extension("location-reference"), |json| {
            let (area, name, ..) = AREAS.get(number % AREAS.len()).copied().unwrap_or(AREAS[0]);
            reference(json, "valueReference", &format!("Location/{area}"), name);
        });
    });
    json.flag("active", true);
    org_type(json, ("ntwk", "Network"));
    json.text("name", name);
    reference(json, "partOf", "Organization/esi", "Sandbox Pharmacy Benefit Manager");
}

fn owner(json: &mut Json, dice: &mut Dice, name: &str, own: &str, store: Option<usize>) {
    meta(json, dice, &plan_net_extension("plannet-Organization"));
    json.array("identifier", |json| {
        npi_identifier(json, dice.below(10).saturating_sub(6), own);
        if let Some(store) = store {
            ncpdp(json, store);
        }
    });
    json.flag("active", true);
    org_type(json, if store.is_some() { ("fac", "Facility") } else { ("bus", "Non-Healthcare Business") });
    json.text("name", name);
    let voice = phone(dice);
    json.array("telecom", |json| {
        telecom(json, "phone", &voice, TelecomExtras { rank: Some("1"), ..TelecomExtras::default() });
        telecom(
            json,
            "url",
            "https://www.pharmacy.example",
            TelecomExtras { rank: Some("2"), ..TelecomExtras::default() },
        );
    });
    let address = Address::new(dice);
    json.array("address", |json| json.item(|json| address.body(json, false)));
}

/// The NCPDP provider id: seven digits, the first two of which stand for the state.
fn ncpdp(json: &mut Json, store: usize) {
    json.item(|json| {
        concept(json, "type", ID_TYPE, ("NCPDP", "NCPDP Provider ID"));
        json.text("system", "http://terminology.hl7.org/NamingSystem/NCPDPProviderIdentificationNumber");
        json.text("value", &format!("39{:05}", store % 100_000));
    });
}

fn locations(shelf: &mut Shelf, all: &Pharmacies) {
    for (number, (id, name, state, corners)) in AREAS.iter().enumerate() {
        let mut dice = Dice::new(all.seed, "rx-area", number);
        shelf.put(id, |json| area(json, &mut dice, name, state, corners));
    }
    for number in 0..all.stores {
        let store = all.store(number);
        let mut dice = Dice::new(all.seed, "store-location", number);
        shelf.put(&store.location_id(), |json| location(json, &mut dice, &store));
    }
}

fn location(json: &mut Json, dice: &mut Dice, store: &Store) {
    meta(json, dice, &plan_net_extension("plannet-Location"));
    json.array("extension", |json| {
        extension(json, &plan_net_extension("accessibility"), |json| {
            let code = dice.pick(&[("handiaccess", "handicap accessible"), ("pubtrans", "public transit options")]);
            concept(json, "valueCodeableConcept", &plan_net_codes("AccessibilityCS"), code);
        });
        if dice.one_in(3) {
            let (target, _) = network_target(store.number);
            new_patients(json, ("newpt", "Accepting"), Some(&target), None);
        }
    });
    json.array("identifier", |json| {
        npi_identifier(json, 0, &npi(NpiRange::Pharmacy, store.number));
        ncpdp(json, store.number);
    });
    json.text("status", "active");
    json.text("name", &store.name);
    json.array("type", |json| {
        concept_item(json, "http://terminology.hl7.org/CodeSystem/v3-RoleCode", ("OUTPHARM", "outpatient pharmacy"));
    });
    let (voice, fax) = (phone(dice), phone(dice));
    json.array("telecom", |json| {
        telecom(json, "phone", &voice, TelecomExtras { rank: Some("1"), ..TelecomExtras::default() });
        telecom(json, "fax", &fax, TelecomExtras::default());
    });
    json.object("address", |json| store.address.body(json, false));
    position(json, dice, &store.address);
    reference(json, "managingOrganization", &format!("Organization/{}", store.owner.id()), "");
    if store.always_open() {
        json.array("hoursOfOperation", |json| {
            json.item(|json| {
                json.array("daysOfWeek", |json| {
                    super::vocabulary::DAYS.iter().for_each(|day| json.text_item(day));
                });
                json.flag("allDay", true);
            });
        });
    } else {
        available_time(json, "hoursOfOperation", ("openingTime", "closingTime"), dice);
    }
}

fn services(shelf: &mut Shelf, all: &Pharmacies) {
    for number in 0..all.stores {
        let store = all.store(number);
        for trade in &store.trades {
            let mut dice = Dice::new(all.seed, trade.key, number);
            shelf.put(&store.service_id(*trade), |json| service(json, &mut dice, &store, *trade));
        }
    }
}

fn service(json: &mut Json, dice: &mut Dice, store: &Store, trade: Trade) {
    meta(json, dice, &plan_net_extension("plannet-HealthcareService"));
    json.array("extension", |json| {
        delivery(json, dice, trade.remote);
        if dice.one_in(4) {
            new_patients(json, ("newpt", "Accepting"), None, None);
        }
    });
    json.flag("active", true);
    reference(json, "providedBy", &format!("Organization/{}", store.owner.id()), "");
    json.array("category", |json| {
        concept_item(json, &plan_net_codes("HealthcareServiceCategoryCS"), ("pharm", "Pharmacy"));
    });
    json.array("specialty", |json| concept_item(json, NUCC, (trade.code, trade.display)));
    if trade.remote {
        json.array("coverageArea", |json| {
            AREAS.iter().for_each(|(area, name, ..)| reference_item(json, &format!("Location/{area}"), name));
        });
    } else {
        json.array("location", |json| reference_item(json, &format!("Location/{}", store.location_id()), &store.name));
    }
    json.text("name", &format!("{} by {}", trade.display, store.name));
    let voice = phone(dice);
    let via = format!("Location/{}", store.location_id());
    let extras = TelecomExtras { via: dice.one_in(5).then_some(via.as_str()), ..TelecomExtras::default() };
    json.array("telecom", |json| telecom(json, "phone", &voice, extras));
    available_time(json, "availableTime", ("availableStartTime", "availableEndTime"), dice);
}

fn affiliations(shelf: &mut Shelf, all: &Pharmacies) {
    for number in 0..all.stores {
        let store = all.store(number);
        for (turn, trade) in store.trades.iter().enumerate() {
            let mut dice = Dice::new(all.seed, "rx-affiliation", number * 4 + turn);
            let id = format!("affiliation-{number:06}-{}", trade.key);
            shelf.put(&id, |json| affiliation(json, &mut dice, &store, *trade));
        }
    }
}

fn affiliation(json: &mut Json, dice: &mut Dice, store: &Store, trade: Trade) {
    meta(json, dice, &plan_net_extension("plannet-OrganizationAffiliation"));
    let (first, second) = (store.number, trade.code.len() + store.number / 2);
    let as_extension = dice.one_in(6);
    if as_extension {
        // As some servers have it: the network in the extension of the role profile.
        json.array("extension", |json| {
            extension(json, &plan_net_extension("network-reference"), |json| {
                let (target, name) = network_target(first);
                reference(json, "valueReference", &target, name);
            });
        });
    }
    json.flag("active", true);
    if !dice.one_in(3) {
        reference(json, "organization", "Organization/esi", "Sandbox Pharmacy Benefit Manager");
    }
    reference(json, "participatingOrganization", &format!("Organization/{}", store.owner.id()), "");
    if !as_extension {
        json.array("network", |json| {
            let (target, name) = network_target(first);
            reference_item(json, &target, name);
            if first % NETWORKS.len() != second % NETWORKS.len() {
                let (target, name) = network_target(second);
                reference_item(json, &target, name);
            }
        });
    }
    json.array("code", |json| {
        concept_item(json, &plan_net_codes("OrganizationAffiliationRoleCS"), ("pharmacy", "Pharmacy"));
    });
    json.array("specialty", |json| {
        concept_item(json, NUCC, ("333600000X", "Pharmacy"));
        concept_item(json, NUCC, (trade.code, trade.display));
    });
    json.array("location", |json| reference_item(json, &format!("Location/{}", store.location_id()), &store.name));
    json.array("healthcareService", |json| {
        reference_item(json, &format!("HealthcareService/{}", store.service_id(trade)), "");
    });
    let voice = phone(dice);
    json.array("telecom", |json| telecom(json, "phone", &voice, TelecomExtras::default()));
    if dice.one_in(10) {
        json.array("endpoint", |json| reference_item(json, &format!("Endpoint/claims-{}", store.number % 4), ""));
    }
}

fn plans(shelf: &mut Shelf, all: &Pharmacies) {
    for number in 0..6 {
        let mut dice = Dice::new(all.seed, "rx-plan", number);
        shelf.put(&format!("rx-plan-{number}"), |json| {
            meta(json, &mut dice, &plan_net_extension("plannet-InsurancePlan"));
            json.text("status", "active");
            json.array("type", |json| {
                concept_item(json, &plan_net_codes("InsuranceProductTypeCS"), ("commppo", "Commercial PPO"));
            });
            json.text("name", &format!("Prescription benefit {number}"));
            reference(json, "administeredBy", "Organization/esi", "");
            json.array("coverageArea", |json| {
                let (area, ..) = AREAS.get(number % AREAS.len()).copied().unwrap_or(AREAS[0]);
                reference_item(json, &format!("Location/{area}"), "");
            });
            json.array("network", |json| {
                let (target, name) = network_target(number);
                reference_item(json, &target, name);
            });
        });
    }
}

fn endpoints(shelf: &mut Shelf, all: &Pharmacies) {
    for number in 0..4 {
        let mut dice = Dice::new(all.seed, "claims", number);
        shelf.put(&format!("claims-{number}"), |json| {
            meta(json, &mut dice, &plan_net_extension("plannet-Endpoint"));
            json.text("status", "active");
            json.object("connectionType", |json| {
                json.text("system", &plan_net_codes("EndpointConnectionTypeCS"));
                json.text("code", "rest-non-fhir");
            });
            json.text("name", "NCPDP claims switch");
            reference(json, "managingOrganization", "Organization/esi", "");
            json.array("payloadType", |json| {
                concept_item(json, &plan_net_codes("EndpointPayloadTypeCS"), ("NA", "Not Applicable"));
            });
            json.text("address", "https://claims.esi.example");
        });
    }
}
