//! Drug formularies in both generations of the US Drug Formulary guide, over the same drugs.

pub(super) mod stu1;
pub(super) mod stu2;

use super::dice::Dice;

pub(super) const GUIDE: &str = "http://hl7.org/fhir/us/davinci-drug-formulary";
pub(super) const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
pub(super) const NDC: &str = "http://hl7.org/fhir/sid/ndc";
pub(super) const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

/// The extension `usdf-{name}-extension`.
pub(super) fn usdf(name: &str) -> String {
    format!("{GUIDE}/StructureDefinition/usdf-{name}-extension")
}

/// A code system of the guide, under the name of this generation.
pub(super) fn codes(name: &str) -> String {
    format!("{GUIDE}/CodeSystem/{name}")
}

/// Drug tiers: those of the generic drugs first.
pub(super) const TIERS: [(&str, &str); 6] = [
    ("generic", "Generic"),
    ("preferred-generic", "Preferred Generic"),
    ("non-preferred-generic", "Non-preferred Generic"),
    ("preferred-brand", "Preferred Brand"),
    ("brand", "Brand"),
    ("specialty", "Specialty"),
];

pub(super) const PHARMACY_TYPES: [(&str, &str); 4] = [
    ("1-month-in-retail", "1 month in network retail"),
    ("1-month-out-retail", "1 month out of network retail"),
    ("3-month-in-retail", "3 month in network retail"),
    ("3-month-in-mail", "3 month in network mail order"),
];

const INGREDIENTS: [(&str, &str); 30] = [
    ("amlodipine", ""),
    ("apixaban", "Eliquis"),
    ("atorvastatin", "Lipitor"),
    ("azithromycin", ""),
    ("bupropion", ""),
    ("cephalexin", ""),
    ("clopidogrel", ""),
    ("dapagliflozin", "Farxiga"),
    ("duloxetine", ""),
    ("empagliflozin", "Jardiance"),
    ("escitalopram", ""),
    ("fluticasone", ""),
    ("furosemide", ""),
    ("gabapentin", ""),
    ("hydrochlorothiazide", ""),
    ("insulin glargine", "Lantus"),
    ("levothyroxine", "Synthroid"),
    ("lisinopril", ""),
    ("losartan", ""),
    ("metformin", ""),
    ("metoprolol succinate", ""),
    ("montelukast", ""),
    ("omeprazole", ""),
    ("ondansetron", ""),
    ("pantoprazole", ""),
    ("rivaroxaban", "Xarelto"),
    ("rosuvastatin", ""),
    ("sertraline", ""),
    ("sitagliptin", "Januvia"),
    ("trazodone", ""),
];

const STRENGTHS: [&str; 4] = ["5 MG", "10 MG", "20 MG", "40 MG"];
const FORMS: [(&str, &str); 3] =
    [("421026006", "Oral tablet"), ("420692007", "Oral capsule"), ("385055001", "Tablet dose form")];

/// A drug of the catalogue.
#[derive(Debug, Clone)]
pub(super) struct Drug {
    pub(super) rxnorm: String,
    pub(super) name: String,
    /// The RxNorm group the drug belongs to, code and name.
    pub(super) group: (String, String),
    /// Eleven digits, or ten with hyphens.
    pub(super) ndc: String,
    pub(super) form: (&'static str, &'static str),
    pub(super) brand: bool,
}

impl Drug {
    pub(super) fn new(seed: u64, number: usize) -> Self {
        let mut dice = Dice::new(seed, "drug", number);
        let (ingredient, brand) = INGREDIENTS.get(number % INGREDIENTS.len()).copied().unwrap_or(("aspirin", ""));
        let strength = STRENGTHS.get(number / INGREDIENTS.len() % STRENGTHS.len()).copied().unwrap_or("1 MG");
        let form = FORMS.get(number / (INGREDIENTS.len() * STRENGTHS.len()) % FORMS.len()).copied().unwrap_or(FORMS[0]);
        let branded = !brand.is_empty() && dice.one_in(2);
        let bracket = if branded { format!(" [{brand}]") } else { String::new() };
        let labeler = dice.between(10, 70_000);
        let ndc = match dice.below(4) {
            0 => format!("{:04}-{:04}-{:02}", labeler % 10_000, number % 10_000, dice.below(100)),
            _ => format!("{labeler:05}{:04}{:02}", number % 10_000, dice.below(100)),
        };
        Self {
            rxnorm: (197_300 + number * 7).to_string(),
            name: format!("{ingredient} {strength} {}{bracket}", form.1),
            group: ((1_150_000 + number % INGREDIENTS.len()).to_string(), format!("{ingredient} Pill")),
            ndc,
            form,
            brand: branded,
        }
    }

    /// The tier of this drug in a plan.
    pub(super) fn tier(&self, dice: &mut Dice) -> (&'static str, &'static str) {
        let from = if self.brand { 3 } else { 0 };
        TIERS.get(from + dice.below(3)).copied().unwrap_or(TIERS[0])
    }
}

/// How many drugs and plans a world of this size has: a formulary does not grow with the number of practitioners.
pub(super) fn drugs(size: usize) -> usize {
    (size / 3).clamp(60, 1_200)
}

pub(super) fn plans(size: usize) -> usize {
    (size / 80).clamp(4, 16)
}

/// Identifier of a plan as HIOS writes it.
pub(super) fn plan_id(number: usize) -> String {
    format!("{}PA{:07}", 33_700 + number, 70_000 + number)
}

/// Whether a drug is on the formulary of a plan: four of five are.
pub(super) fn covers(seed: u64, plan: usize, drug: usize) -> bool {
    !Dice::new(seed, "covers", plan * 100_000 + drug).one_in(5)
}
