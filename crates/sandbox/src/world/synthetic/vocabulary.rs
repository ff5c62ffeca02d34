//! The words that made-up resources are made of. Places and codes are real, people and companies are not.

/// A city with its state, a ZIP code of it and its position in millionths of a degree.
#[derive(Debug, Clone, Copy)]
pub(super) struct City {
    pub(super) name: &'static str,
    pub(super) state: &'static str,
    pub(super) zip: u32,
    pub(super) latitude: i32,
    pub(super) longitude: i32,
}

const fn city(name: &'static str, state: &'static str, zip: u32, latitude: i32, longitude: i32) -> City {
    City { name, state, zip, latitude, longitude }
}

pub(super) const CITIES: [City; 20] = [
    city("Pittsburgh", "PA", 15201, 40_440_600, -79_995_900),
    city("Erie", "PA", 16501, 42_129_200, -80_085_100),
    city("Harrisburg", "PA", 17101, 40_273_200, -76_886_700),
    city("Johnstown", "PA", 15901, 40_326_700, -78_922_000),
    city("Altoona", "PA", 16601, 40_518_700, -78_394_700),
    city("Scranton", "PA", 18503, 41_408_900, -75_662_400),
    city("Allentown", "PA", 18101, 40_602_300, -75_471_400),
    city("Greensburg", "PA", 15601, 40_301_500, -79_538_900),
    city("Washington", "PA", 15301, 40_174_000, -80_246_200),
    city("Charleston", "WV", 25301, 38_349_800, -81_632_600),
    city("Morgantown", "WV", 26501, 39_629_500, -79_955_900),
    city("Wheeling", "WV", 26003, 40_064_000, -80_720_900),
    city("Huntington", "WV", 25701, 38_419_200, -82_445_200),
    city("Wilmington", "DE", 19801, 39_739_100, -75_539_800),
    city("Dover", "DE", 19901, 39_158_200, -75_524_400),
    city("Newark", "DE", 19711, 39_683_700, -75_749_700),
    city("Buffalo", "NY", 14201, 42_886_400, -78_878_400),
    city("Jamestown", "NY", 14701, 42_097_000, -79_235_300),
    city("Youngstown", "OH", 44501, 41_099_800, -80_649_500),
    city("Hagerstown", "MD", 21740, 39_641_800, -77_720_000),
];

pub(super) const STREETS: [&str; 16] = [
    "Main St",
    "Penn Ave",
    "Market St",
    "Forbes Ave",
    "State St",
    "Liberty Ave",
    "Church St",
    "Maple Ave",
    "River Rd",
    "Hospital Dr",
    "Medical Center Blvd",
    "Route 30",
    "Washington Rd",
    "Fifth Ave",
    "College Ave",
    "Grant St",
];

pub(super) const FAMILIES: [&str; 40] = [
    "Abbott",
    "Adeyemi",
    "Baker",
    "Bianchi",
    "Castillo",
    "Chen",
    "Cormier",
    "D'Angelo",
    "Dubois",
    "Eriksen",
    "Farrell",
    "Fischer",
    "Garcia",
    "Goldberg",
    "Gupta",
    "Haddad",
    "Hoffmann",
    "Ivanova",
    "Jackson",
    "Kaminski",
    "Kim",
    "Kowalski",
    "Lewis",
    "Lombardi",
    "Müller",
    "Murphy",
    "Nakamura",
    "Nguyen",
    "O'Brien",
    "Okafor",
    "Patel",
    "Quinn",
    "Rossi",
    "Schneider",
    "Smith",
    "Tanaka",
    "Vargas",
    "Wagner",
    "Young",
    "Zimmerman",
];

pub(super) const WOMEN: [&str; 20] = [
    "Amara", "Beatriz", "Carol", "Diane", "Elena", "Fatima", "Grace", "Hannah", "Ingrid", "Joyce", "Karen", "Lucía",
    "Maria", "Nora", "Olga", "Priya", "Rachel", "Susan", "Teresa", "Wei",
];

pub(super) const MEN: [&str; 20] = [
    "Adam", "Brian", "Carlos", "David", "Emeka", "Frank", "George", "Hassan", "Ivan", "James", "Kenji", "Luis",
    "Mauro", "Nathan", "Omar", "Paul", "Rajesh", "Stefan", "Thomas", "William",
];

/// A specialty: NUCC taxonomy code and display, the role that goes with it and the degree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Specialty {
    pub(super) code: &'static str,
    pub(super) display: &'static str,
    pub(super) role: (&'static str, &'static str),
    pub(super) degree: (&'static str, &'static str),
}

const fn specialty(
    code: &'static str,
    display: &'static str,
    role: (&'static str, &'static str),
    degree: (&'static str, &'static str),
) -> Specialty {
    Specialty { code, display, role, degree }
}

const PHYSICIAN: (&str, &str) = ("ph", "Physician");
const MD: (&str, &str) = ("MD", "Doctor of Medicine");
const DO: (&str, &str) = ("DO", "Doctor of Osteopathy");

pub(super) const SPECIALTIES: [Specialty; 18] = [
    specialty("207Q00000X", "Family Medicine Physician", PHYSICIAN, MD),
    specialty("207R00000X", "Internal Medicine Physician", PHYSICIAN, MD),
    specialty("207RC0000X", "Cardiovascular Disease Physician", PHYSICIAN, MD),
    specialty("207RX0202X", "Medical Oncology Physician", PHYSICIAN, MD),
    specialty("207RE0101X", "Endocrinology, Diabetes & Metabolism Physician", PHYSICIAN, DO),
    specialty("208000000X", "Pediatrics Physician", PHYSICIAN, MD),
    specialty("207V00000X", "Obstetrics & Gynecology Physician", PHYSICIAN, MD),
    specialty("207X00000X", "Orthopaedic Surgery Physician", PHYSICIAN, DO),
    specialty("208600000X", "Surgery Physician", PHYSICIAN, MD),
    specialty("2084P0800X", "Psychiatry Physician", PHYSICIAN, MD),
    specialty("207N00000X", "Dermatology Physician", PHYSICIAN, MD),
    specialty("207P00000X", "Emergency Medicine Physician", PHYSICIAN, DO),
    specialty("2085R0202X", "Diagnostic Radiology Physician", PHYSICIAN, MD),
    specialty(
        "363LF0000X",
        "Family Nurse Practitioner",
        ("apn", "Advanced Practice Nurse"),
        ("NP", "Nurse Practitioner"),
    ),
    specialty("363A00000X", "Physician Assistant", ("pa", "Physician Assistant"), ("PA", "Physician Assistant")),
    specialty("101YP2500X", "Professional Counselor", ("co", "Counselor"), ("MS", "Master of Science")),
    specialty("225100000X", "Physical Therapist", ("th", "Therapist"), ("DPT", "Doctor of Physical Therapy")),
    specialty("1223G0001X", "General Practice Dentistry", ("de", "Dentist"), ("DDS", "Doctor of Dental Surgery")),
];

/// A language (BCP 47) and its name.
pub(super) const LANGUAGES: [(&str, &str); 8] = [
    ("en", "English"),
    ("es", "Spanish"),
    ("zh", "Chinese"),
    ("ar", "Arabic"),
    ("hi", "Hindi"),
    ("pl", "Polish"),
    ("it", "Italian"),
    ("vi", "Vietnamese"),
];

pub(super) const PROFICIENCIES: [(&str, &str); 5] = [
    ("10", "Elementary proficiency"),
    ("20", "Limited working proficiency"),
    ("30", "General professional proficiency"),
    ("40", "Advanced professional proficiency"),
    ("50", "Functional native proficiency"),
];

pub(super) const ACCEPTING: [(&str, &str); 4] = [
    ("newpt", "Accepting"),
    ("nopt", "Not Accepting"),
    ("existptonly", "Existing Patients Only"),
    ("existptfam", "Existing Patients and Families"),
];

pub(super) const ACCESSIBILITY: [(&str, &str); 7] = [
    ("cultcomp", "cultural competence"),
    ("handiaccess", "handicap accessible"),
    ("adacomp", "ADA compliant"),
    ("pubtrans", "public transit options"),
    ("anssrvc", "answering service"),
    ("cognitive", "cognitive"),
    ("mobility", "mobility"),
];

/// Names of provider organizations; the place's name comes first.
pub(super) const PRACTICES: [(&str, &str, &str); 12] = [
    ("Regional Hospital", "fac", "hosp"),
    ("Family Practice", "prvgrp", "prov"),
    ("Cardiology Associates", "prvgrp", "outpat"),
    ("Women's Health Center", "prvgrp", "group"),
    ("Pediatrics", "prvgrp", "group"),
    ("Orthopedic Institute", "prvgrp", "outpat"),
    ("Urgent Care", "fac", "urg"),
    ("Behavioral Health Partners", "prvgrp", "behav"),
    ("Imaging & Laboratory", "fac", "lab"),
    ("Dental Group", "prvgrp", "dent"),
    ("Home Health Services", "fac", "home"),
    ("Community Wellness Alliance", "atyprv", "other"),
];

/// Networks of the made-up payer: name and the product line they serve.
pub(super) const NETWORKS: [&str; 8] = [
    "Three Rivers Preferred PPO",
    "Three Rivers Select HMO",
    "Keystone Ridge Medicare Advantage",
    "Mountain State PPO",
    "First State EPO",
    "Lake Erie Community Network",
    "Three Rivers Dental",
    "Do Not Use - Three Rivers National HMO",
];

pub(super) const PAYERS: [&str; 3] =
    ["Three Rivers Health Plan", "Mountain State Health Plan", "First State Health Plan"];

/// An insurance product: code, display, and the plan type that goes with it.
pub(super) const PRODUCTS: [(&str, &str, (&str, &str)); 8] = [
    ("commppo", "Commercial PPO", ("gold", "Gold-QHP")),
    ("commhmo", "Commercial HMO", ("silver", "Silver-QHP")),
    ("commepo", "Commercial EPO", ("bronze", "Bronze-QHP")),
    ("qhp", "Qualified Health Plan", ("silver", "Silver-QHP")),
    ("mediadv", "Medicare Advantage", ("lowdeductible", "Low Deductible")),
    ("mediadvhmo", "Medicare Advantage HMO", ("highdeductible", "High Deductible")),
    // Not in the guide's code system, and yet met in the wild.
    ("medicare", "Medicare", ("catastrophic", "Catastrophic-QHP")),
    ("dent", "Dental", ("lowdeductible", "Low Deductible")),
];

pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
