//! What is planned for a member, by whom, and what the member carries.

use serde_json::json;

use super::people::{core, practitioner, role};
use super::{Chart, LOINC, Member, SNOMED, TERMINOLOGY, concept, standard, to};

/// Care plan, care team, goal and device.
pub(super) fn member(chart: &mut Chart, member: &Member) {
    let encounter = to(&format!("Encounter/{}", member.own("visit-1")));
    let plan = json!({
        "status": "active",
        "intent": "plan",
        "category": [concept("http://hl7.org/fhir/us/core/CodeSystem/careplan-category", "assess-plan", "Assessment and Plan of Treatment")],
        "title": "Blood pressure",
        "description": "Lower the blood pressure by walking and less salt",
        "subject": member.reference(),
        "encounter": encounter,
        "period": { "start": "2025-02", "end": "2026-02" },
        "author": to(&practitioner(member.number)),
        "careTeam": [to(&format!("CareTeam/{}", member.own("team")))],
        "goal": [to(&format!("Goal/{}", member.own("goal")))],
    });
    chart.put("CarePlan", &member.own("plan"), &core("careplan"), plan);
    let team = json!({
        "status": "active",
        "category": [concept(LOINC, "LA27976-2", "Encounter-focused care team")],
        "name": format!("Team of {} {}", member.given, member.family),
        "subject": member.reference(),
        "encounter": encounter,
        "period": { "start": "2025-02-01" },
        "participant": [
            { "role": [role("453231000124104", "Primary care provider")], "member": to(&practitioner(member.number)),
              "onBehalfOf": to("Organization/clinic"), "period": { "start": "2025-02-01" } },
            { "role": [role("116154003", "Patient")], "member": member.reference() },
        ],
        "managingOrganization": [to("Organization/clinic")],
    });
    chart.put("CareTeam", &member.own("team"), &core("careteam"), team);
    let goal = json!({
        "lifecycleStatus": "active",
        "achievementStatus": standard("goal-achievement", "in-progress"),
        "category": [standard("goal-category", "physiotherapy")],
        "description": concept(SNOMED, "135840009", "Blood pressure below 140/90"),
        "subject": member.reference(),
        "startDate": "2025-02-01",
        "target": [{ "measure": concept(LOINC, "85354-9", "Blood pressure panel"), "dueDate": "2026-02-01" }],
    });
    chart.put("Goal", &member.own("goal"), &core("goal"), goal);
    if member.number.is_multiple_of(2) {
        let serial = 9_000 + member.number;
        let device = json!({
            "status": "active",
            "udiCarrier": [{ "deviceIdentifier": "09504000059118", "carrierHRF": format!("(01)09504000059118(21){serial}") }],
            "distinctIdentifier": format!("W{serial}"),
            "manufacturer": "Ridge Orthopedics",
            "manufactureDate": "2024-05-02",
            "expirationDate": "2034-05-02",
            "lotNumber": "K-77",
            "serialNumber": serial.to_string(),
            "deviceName": [{ "name": "Total knee system", "type": "user-friendly-name" }],
            "modelNumber": "TK-3",
            "type": concept(&format!("{TERMINOLOGY}/device-type"), "303533002", "Knee joint prosthesis"),
            "patient": member.reference(),
        });
        chart.put("Device", &member.own("knee"), &core("implantable-device"), device);
    }
}
