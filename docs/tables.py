#!/usr/bin/env python3
"""Write the data dictionary from the shipped views: `docs/tables.py FHIRVEST > docs/tables.md` (`make tables`).

The views hold the names and descriptions; the program named on the command line tells the SQL types.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
VIEWS = ROOT / "config" / "views"
GUIDES = {
    "plan-net": "Provider and pharmacy directories (Da Vinci PDex Plan-Net)",
    "formulary": "Drug formularies (Da Vinci US Drug Formulary, both generations)",
    "patient-access": "Members' data (CARIN Blue Button, US Core): sensitive lakes only",
}
HEAD = """# Tables

Made by `make tables` from the ViewDefinitions in `config/views/`; change those, not this file. Every table also has the
columns `source` and `snapshot`, which come from its path. Children carry their parent's id and the element's position
`idx`. Codes keep code, system, display and text. `…_id` is a bare id to join on, `…_ref` the reference as it was sent.
Dates with a time or of partial precision are text as FHIR writes it.

A value that does not fit its column is null and counted as a misfit of the column; a JSON number or boolean in a text column
keeps its text. No row is lost by it: where a list cannot be gone through, because plain values stand where FHIR has elements with
parts, each stands for a row with nulls. `"(where)"` among a table's `casts` counts the resources that a view's filter could not judge.
"""


def columns(select):
    """The columns of a selection in their order; those of a union once."""
    for column in select.get("column", []):
        yield column["name"], column.get("description", "")
    for inner in select.get("select", []):
        yield from columns(inner)
    for inner in select.get("unionAll", [])[:1]:
        yield from columns(inner)


def sql_types(program, view):
    """Column name -> SQL type, as the program declares them."""
    ddl = subprocess.run(
        [program, "views", "ddl", str(view)], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    return dict(re.findall(r'^  "([^"]+)" (.+?),?$', ddl, re.M))


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    out = [HEAD]
    for guide, title in GUIDES.items():
        tables = {}
        for path in sorted((VIEWS / guide).glob("*.json")):
            tables.setdefault(json.loads(path.read_text())["name"], []).append(path)
        out.append(f"## {title}\n")
        out.append(", ".join(f"[{name}](#{name})" for name in tables) + "\n")
        for name, paths in tables.items():
            views = [json.loads(path.read_text()) for path in paths]
            described = {}
            for view in views:
                for select in view["select"]:
                    for column, text in columns(select):
                        described[column] = described.get(column) or text
            texts = list(dict.fromkeys(view["description"] for view in views))
            resources = ", ".join(view["resource"] for view in views)
            out.append(f"### {name}\n\n{' '.join(texts)} From {resources}.\n")
            out.append("| column | type | what it holds |\n|---|---|---|")
            for column, kind in sql_types(program, paths[0]).items():
                out.append(f"| `{column}` | {kind} | {cell(described[column])} |")
            out.append("")
    sys.stdout.write("\n".join(out))


if __name__ == "__main__":
    main()
