#!/usr/bin/env python3
"""What the derived views should say of reference data, worked out from its NDJSON without DuckDB and without fhirvest.

    derived.py directory FOLDER       counts by signal, pharmacies, networks by NPI, as JSON
    derived.py formulary FROM TO      writes a second night of a formulary to TO, and prints what changed in it
"""

import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path


def resources(folder: Path, kind: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{kind}.ndjson").read_text(encoding="utf-8").splitlines() if line]


def is_npi(text: str) -> bool:
    """The check digit of an NPI: Luhn's over 80840 and the ten digits."""
    if len(text) != 10 or not text.isdigit():
        return False
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed("80840" + text))]
    return sum(number // 10 + number % 10 for number in doubled) % 10 == 0


def directory(folder: Path) -> dict:
    practitioners, roles = resources(folder, "Practitioner"), resources(folder, "PractitionerRole")
    npis = {}
    for one in practitioners:
        for identifier in one.get("identifier", []):
            if identifier.get("system", "").endswith("us-npi"):
                npis[one["id"]] = str(identifier["value"])
    networks = defaultdict(set)
    for role in roles:
        practitioner = role.get("practitioner", {}).get("reference", "").removeprefix("Practitioner/")
        for extension in role.get("extension", []):
            if "network-reference" in extension["url"] and role.get("active") is not False:
                networks[npis.get(practitioner)].add(extension["valueReference"]["reference"].removeprefix("Organization/"))
    pharmacies = [
        (one["id"], place["reference"])
        for one in resources(folder, "OrganizationAffiliation")
        if any(coding.get("code") == "pharmacy" for code in one.get("code", []) for coding in code.get("coding", []))
        for place in one.get("location", [])
    ]
    npi = min(npi for npi in networks if npi)
    return {
        "pharmacies": len(set(pharmacies)),
        "invalid_npis": sum(not is_npi(npi) for npi in npis.values()),
        "npi": npi,
        "networks": sorted(networks[npi]),
        "network_members": sum(len(of) for of in networks.values()),
    }


def formulary(source: Path, target: Path) -> list:
    shutil.copytree(source, target, dirs_exist_ok=True)
    items = resources(source, "Basic")
    gone, changed = items[100], items[200]
    (tier,) = [one for one in changed["extension"] if "DrugTierID" in one["url"]]
    coding = tier["valueCodeableConcept"]["coding"][0]
    was, coding["code"] = coding["code"], "another-tier"
    lines = [json.dumps(one) for one in items if one is not gone]
    (target / "Basic.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    told = [[gone["id"], "removed", gone["id"], None], [changed["id"], "tier_code", was, coding["code"]]]
    return sorted(told)


if __name__ == "__main__":
    what, *folders = sys.argv[1:]
    answer = directory(Path(folders[0])) if what == "directory" else formulary(Path(folders[0]), Path(folders[1]))
    print(json.dumps(answer))
