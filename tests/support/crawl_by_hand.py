"""Crawls one resource type to Parquet as one would by hand: requests, orjson, pyarrow. What `make bench` measures fhirvest's
CPU time against. Prints rows and the CPU seconds of this process.

usage: crawl_by_hand.py URL OUTPUT.parquet
"""

import resource
import sys

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import requests

NPI = "http://hl7.org/fhir/sid/us-npi"
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "last_updated", "npi", "practitioner", "organization", "specialty", "location")]
)


def rows(role):
    """One row per specialty coding and location."""
    npi = next((one.get("value") for one in role.get("identifier", ()) if one.get("system") == NPI), None)
    head = {
        "id": role["id"],
        "last_updated": role.get("meta", {}).get("lastUpdated"),
        "npi": npi,
        "practitioner": role.get("practitioner", {}).get("reference"),
        "organization": role.get("organization", {}).get("reference"),
    }
    for specialty in role.get("specialty", ()):
        for coding in specialty.get("coding", ()):
            for location in role.get("location", ()):
                yield head | {"specialty": coding.get("code"), "location": location.get("reference")}


def main(url, output):
    count, session = 0, requests.Session()
    with pq.ParquetWriter(output, SCHEMA, compression="zstd") as writer:
        while url:
            answer = session.get(url, timeout=60)
            answer.raise_for_status()
            bundle = orjson.loads(answer.content)
            table = [row for entry in bundle.get("entry", ()) for row in rows(entry["resource"])]
            writer.write_table(pa.Table.from_pylist(table, schema=SCHEMA))
            count += len(bundle.get("entry", ()))
            url = next((link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"), None)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{count} resources, {used.ru_utime + used.ru_stime:.2f} CPU s")


if __name__ == "__main__":
    main(*sys.argv[1:])
