#!/usr/bin/env python3
"""Run a query in DuckDB and print its rows as JSON: an array of objects, one a row.

    query.py [--before SQL] [--views views.sql] 'SELECT ...'      the query may also come on stdin

The views file is executed first, as `duckdb -init` would. Numbers, booleans and nulls stay what they are; every
other value (dates, times, decimals) is its text in DuckDB, in UTC, so that results compare byte for byte.
"""

import argparse
import json
import sys
from pathlib import Path

import duckdb

# Types that JSON carries without loss.
PLAIN = {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "DOUBLE", "VARCHAR"}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict]:
    """The rows of one SELECT, with every type that JSON lacks cast to text or JSON by DuckDB itself."""
    described = connection.execute(f"DESCRIBE {query}").fetchall()
    columns = [(name, kind) for name, kind, *_ in described]
    nested = {name for name, kind in columns if kind.endswith("]") or kind.startswith(("STRUCT", "MAP"))}

    def expression(name: str, kind: str) -> str:
        if name in nested:
            return f"CAST(to_json({quoted(name)}) AS VARCHAR) AS {quoted(name)}"
        return quoted(name) if kind in PLAIN else f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}"

    select = ", ".join(expression(name, kind) for name, kind in columns)
    found = connection.execute(f"SELECT {select} FROM ({query}\n) AS asked").fetchall()
    names = [name for name, _ in columns]
    result = [dict(zip(names, row)) for row in found]
    for row in result:
        for name in nested:
            row[name] = None if row[name] is None else json.loads(row[name])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=Path, help="SQL to execute first, such as a lake's views.sql")
    parser.add_argument("--before", default="", help="SQL to execute before the views, such as the key of an encrypted lake")
    parser.add_argument("query", nargs="?", help="SQL; from stdin when absent; the rows of its last statement are printed")
    arguments = parser.parse_args()

    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(arguments.before)
    if arguments.views:
        connection.execute(arguments.views.read_text(encoding="utf-8"))
    *before, last = connection.extract_statements(arguments.query or sys.stdin.read())
    for statement in before:
        connection.execute(statement)
    query = last.query.strip().rstrip(";")
    json.dump(rows(connection, query), sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
