//! A directory of the size of a large payer's, made by arithmetic: the same bytes on every machine.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// Roles of about 2.1 KB.
const ROLES: u64 = 200_000;

/// Practitioners of about 1.4 KB.
const PRACTITIONERS: u64 = 100_000;

const CITIES: [(&str, &str); 6] = [
    ("Pittsburgh", "15222"),
    ("Erie", "16501"),
    ("Altoona", "16601"),
    ("Johnstown", "15901"),
    ("Wheeling", "26003"),
    ("Buffalo", "14201"),
];
const FAMILIES: [&str; 12] = [
    "Nguyen",
    "Smith",
    "García",
    "O'Neill",
    "Kowalski",
    "Haddad",
    "Lindqvist",
    "Okafor",
    "Patel",
    "Müller",
    "Rossi",
    "Chen",
];
const GIVEN: [&str; 10] = ["Anna", "Bao", "Carlos", "Dina", "Emeka", "Fatima", "Greta", "Hiro", "Ines", "Jonas"];
const SPECIALTIES: [(&str, &str); 8] = [
    ("207Q00000X", "Family Medicine Physician"),
    ("207R00000X", "Internal Medicine Physician"),
    ("208000000X", "Pediatrics Physician"),
    ("2084P0800X", "Psychiatry Physician"),
    ("207RC0000X", "Cardiovascular Disease Physician"),
    ("363LF0000X", "Family Nurse Practitioner"),
    ("225100000X", "Physical Therapist"),
    ("1041C0700X", "Clinical Social Worker"),
];
const DAYS: [&str; 5] = ["mon", "tue", "wed", "thu", "fri"];

/// The two files.
pub(crate) struct Data {
    pub(crate) roles: PathBuf,
    pub(crate) practitioners: PathBuf,
}

impl Data {
    /// Makes the files in a folder, where they are not there yet.
    pub(crate) fn make(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let data =
            Self { roles: folder.join("PractitionerRole.ndjson"), practitioners: folder.join("Practitioner.ndjson") };
        file(&data.roles, ROLES, role)?;
        file(&data.practitioners, PRACTITIONERS, practitioner)?;
        Ok(data)
    }

    /// A file compressed as the archive is.
    pub(crate) fn compressed(path: &Path) -> io::Result<PathBuf> {
        let place = path.with_extension("ndjson.zst");
        if !place.exists() {
            let part = path.with_extension("part");
            zstd::stream::copy_encode(File::open(path)?, File::create(&part)?, 3)?;
            fs::rename(part, &place)?;
        }
        Ok(place)
    }
}

fn file(path: &Path, count: u64, one: fn(&mut dyn Write, u64) -> io::Result<()>) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let part = path.with_extension("part");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&part)?);
    for number in 0..count {
        one(&mut out, number)?;
        out.write_all(b"\n")?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(part, path)
}

/// A number that looks like chance (the mixing steps of `SplitMix64`).
fn mixed(number: u64, salt: u64) -> u64 {
    let mut z = number.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn pick<T: Copy>(of: &[T], number: u64) -> T {
    of[usize::try_from(number % of.len() as u64).unwrap_or(0)]
}

fn npi(number: u64) -> u64 {
    1_000_000_000 + mixed(number, 7) % 1_000_000_000
}

fn stamp(number: u64) -> String {
    let (day, second, milli) = (number % 28 + 1, mixed(number, 1) % 60, mixed(number, 2) % 1000);
    format!("2026-0{}-{day:02}T{:02}:{:02}:{second:02}.{milli:03}Z", number % 9 + 1, number % 24, number % 60)
}

/// `count` elements with commas between them.
fn list(out: &mut dyn Write, count: u64, mut one: impl FnMut(&mut dyn Write, u64) -> io::Result<()>) -> io::Result<()> {
    for place in 0..count {
        if place > 0 {
            out.write_all(b",")?;
        }
        one(out, place)?;
    }
    Ok(())
}

fn role(out: &mut dyn Write, number: u64) -> io::Result<()> {
    let chance = mixed(number, 3);
    let practitioner = number / 2;
    write!(
        out,
        r#"{{"resourceType":"PractitionerRole","id":"role-{number:07}","meta":{{"versionId":"{}","lastUpdated":"{}","profile":["http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/plannet-PractitionerRole"]}},"#,
        chance % 4 + 1,
        stamp(number)
    )?;
    out.write_all(br#""extension":["#)?;
    list(out, chance % 2 + 1, |out, place| {
        write!(
            out,
            r#"{{"url":"http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/network-reference","valueReference":{{"reference":"Organization/network-{:03}"}}}}"#,
            mixed(number, place) % 60
        )
    })?;
    write!(
        out,
        r#",{{"url":"http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/newpatients","extension":[{{"url":"acceptingPatients","valueCodeableConcept":{{"coding":[{{"system":"http://hl7.org/fhir/us/davinci-pdex-plan-net/CodeSystem/AcceptingPatientsCS","code":"{}"}}]}}}}]}}],"#,
        pick(&["newpt", "nopt", "existptonly"], chance >> 8)
    )?;
    write!(
        out,
        r#""identifier":[{{"system":"https://directory.example.org/role-id","value":"R{:09}"}},{{"type":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"NPI"}}]}},"system":"http://hl7.org/fhir/sid/us-npi","value":"{}"}}],"active":{},"period":{{"start":"2020-01-{:02}"}},"#,
        mixed(number, 9) % 1_000_000_000,
        npi(practitioner),
        !chance.is_multiple_of(50),
        number % 28 + 1
    )?;
    write!(
        out,
        r#""practitioner":{{"reference":"Practitioner/prac-{practitioner:06}","display":"{} {}, MD"}},"organization":{{"reference":"Organization/org-{:05}","display":"Allegheny Medical Group {}"}},"#,
        pick(&GIVEN, mixed(practitioner, 4)),
        pick(&FAMILIES, mixed(practitioner, 5)),
        chance % 20_000,
        chance % 97
    )?;
    out.write_all(br#""code":[{"coding":[{"system":"http://hl7.org/fhir/us/davinci-pdex-plan-net/CodeSystem/ProviderRoleCS","code":"ph","display":"Physician"}]}],"specialty":["#)?;
    list(out, pick(&[1, 1, 2, 2, 3], chance >> 12), |out, place| {
        let (code, display) = pick(&SPECIALTIES, mixed(number, 20 + place));
        write!(
            out,
            r#"{{"coding":[{{"system":"http://nucc.org/provider-taxonomy","code":"{code}","display":"{display}"}}],"text":"{display}"}}"#
        )
    })?;
    out.write_all(br#"],"location":["#)?;
    list(out, pick(&[1, 2, 2, 2, 3], chance >> 16), |out, place| {
        let location = mixed(number, 30 + place) % 50_000;
        write!(
            out,
            r#"{{"reference":"Location/loc-{location:05}","display":"{} Office {}"}}"#,
            pick(&CITIES, location).0,
            location % 100
        )
    })?;
    write!(
        out,
        r#"],"telecom":[{{"system":"phone","value":"(412) 555-{:04}","use":"work","rank":1}},{{"system":"fax","value":"(412) 555-{:04}","use":"work"}}],"availableTime":["#,
        chance % 10_000,
        (chance >> 20) % 10_000
    )?;
    list(out, chance % 2 + 1, |out, place| {
        let days = if place == 0 { &DAYS[..4] } else { &DAYS[4..] };
        write!(
            out,
            r#"{{"daysOfWeek":["{}"],"availableStartTime":"08:30:00","availableEndTime":"17:00:00"}}"#,
            days.join("\",\"")
        )
    })?;
    out.write_all(b"]}")
}

fn practitioner(out: &mut dyn Write, number: u64) -> io::Result<()> {
    let chance = mixed(number, 11);
    let (family, given) = (pick(&FAMILIES, mixed(number, 5)), pick(&GIVEN, mixed(number, 4)));
    let (city, zip) = pick(&CITIES, chance);
    write!(
        out,
        r#"{{"resourceType":"Practitioner","id":"prac-{number:06}","meta":{{"versionId":"1","lastUpdated":"{}","profile":["http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/plannet-Practitioner"]}},"identifier":[{{"system":"https://directory.example.org/practitioner-id","value":"P{number:08}"}},{{"type":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"NPI"}}]}},"system":"http://hl7.org/fhir/sid/us-npi","value":"{}"}}],"active":true,"#,
        stamp(number + 5),
        npi(number)
    )?;
    write!(
        out,
        r#""name":[{{"use":"official","text":"{given} {family}, MD","family":"{family}","given":["{given}"{}],"suffix":["MD"]}}],"telecom":[{{"system":"phone","value":"(814) 555-{:04}","use":"work","rank":1}}],"address":[{{"use":"work","type":"both","line":["{} Penn Avenue","Suite {}"],"city":"{city}","state":"PA","postalCode":"{zip}","country":"US"}}],"gender":"{}","#,
        if chance.is_multiple_of(3) { format!(r#","{}""#, pick(&GIVEN, chance >> 9)) } else { String::new() },
        chance % 10_000,
        chance % 9000 + 100,
        chance % 400,
        pick(&["female", "male"], chance >> 5)
    )?;
    let qualifications = pick(&[0, 1, 1, 1, 2, 2, 2], chance >> 13);
    if qualifications > 0 {
        out.write_all(br#""qualification":["#)?;
        list(out, qualifications, |out, place| {
            let (code, display) = pick(&SPECIALTIES, mixed(number, 40 + place));
            write!(
                out,
                r#"{{"identifier":[{{"system":"https://license.example.org/pa","value":"MD{:06}"}}],"code":{{"coding":[{{"system":"http://nucc.org/provider-taxonomy","code":"{code}","display":"{display}"}}],"text":"{display}"}},"issuer":{{"display":"State Board of Medicine"}}}}"#,
                mixed(number, 50 + place) % 1_000_000
            )
        })?;
        out.write_all(b"],")?;
    }
    out.write_all(br#""communication":[{"coding":[{"system":"urn:ietf:bcp:47","code":"en","display":"English"}]},{"coding":[{"system":"urn:ietf:bcp:47","code":"es","display":"Spanish"}]}]}"#)
}
