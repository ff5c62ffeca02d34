#!/usr/bin/env python3
"""What an analyst writes instead of a view: the tables `role` and `practitioner` of `make bench`, in DuckDB's SQL.

    by_hand.py PractitionerRole.ndjson Practitioner.ndjson FOLDER [--threads N]

The columns are declared, so that DuckDB neither samples the files nor reads what the tables do not need.
"""

import argparse
from pathlib import Path

import duckdb

ROLE = """
COPY (
    SELECT id, last_updated, npi, practitioner_id, organization_id,
           coding.system AS specialty_system, coding.code AS specialty_code, coding.display AS specialty_display,
           split_part(place.reference, '/', 2) AS location_id
    FROM (
        SELECT *, unnest(location) AS place FROM (
            SELECT id, CAST(meta.lastUpdated AS TIMESTAMPTZ) AS last_updated,
                   list_filter(identifier, lambda i: i.system = 'http://hl7.org/fhir/sid/us-npi')[1].value AS npi,
                   split_part(practitioner.reference, '/', 2) AS practitioner_id,
                   split_part(organization.reference, '/', 2) AS organization_id,
                   unnest(flatten(list_transform(specialty, lambda s: s.coding))) AS coding, location
            FROM read_ndjson('{input}', columns = {{
                id: 'VARCHAR', meta: 'STRUCT(lastUpdated VARCHAR)', identifier: 'STRUCT(system VARCHAR, value VARCHAR)[]',
                practitioner: 'STRUCT(reference VARCHAR)', organization: 'STRUCT(reference VARCHAR)',
                specialty: 'STRUCT(coding STRUCT(system VARCHAR, code VARCHAR, display VARCHAR)[])[]',
                location: 'STRUCT(reference VARCHAR)[]'}}))
        )
) TO '{output}' (FORMAT parquet, COMPRESSION zstd)
"""

PRACTITIONER = """
COPY (
    SELECT id, npi, family, given, coding.code AS qualification_code, coding.display AS qualification_display
    FROM (
        SELECT id, list_filter(identifier, lambda i: i.system = 'http://hl7.org/fhir/sid/us-npi')[1].value AS npi,
               name[1].family AS family, array_to_string(name[1].given, ' ') AS given,
               unnest(CASE WHEN len(codings) > 0 THEN codings ELSE [NULL] END) AS coding
        FROM (
            SELECT *, flatten(list_transform(qualification, lambda q: q.code.coding)) AS codings
            FROM read_ndjson('{input}', columns = {{
                id: 'VARCHAR', identifier: 'STRUCT(system VARCHAR, value VARCHAR)[]',
                name: 'STRUCT(family VARCHAR, given VARCHAR[])[]',
                qualification: 'STRUCT(code STRUCT(coding STRUCT(code VARCHAR, display VARCHAR)[]))[]'}}))
        )
) TO '{output}' (FORMAT parquet, COMPRESSION zstd)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roles")
    parser.add_argument("practitioners")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    if arguments.threads:
        connection.execute(f"SET threads = {arguments.threads}")
    for name, sql, source in (("role", ROLE, arguments.roles), ("practitioner", PRACTITIONER, arguments.practitioners)):
        connection.execute(sql.format(input=source, output=arguments.folder / f"{name}.parquet"))


if __name__ == "__main__":
    main()
