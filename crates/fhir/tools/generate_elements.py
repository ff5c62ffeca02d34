"""Writes src/elements/r4.tsv from HL7's FHIR 4.0.1 definitions: python3 tools/generate_elements.py PATH/r4/elements.ndjson [TARGET]

One line a type, sorted: its name, its kind, the type that it is derived from, and its own elements. An element is `name?types` where
there is at most one, `name*types` where there may be several; types are divided by `|`. Parts of a resource have their path as the name.
"""

import json
import pathlib
import sys

KINDS = {"resource": "resource", "complex-type": "complex", "primitive-type": "primitive", "logical": "logical"}


def types_of(element, parts):
    if reference := element.get("contentReference"):
        return [reference.removeprefix("#")]
    if element["path"] in parts:
        return [element["path"]]
    return ["string" if name.endswith("/System.String") else name for name in element.get("types", [])]


def main(source, target):
    definitions = [json.loads(line) for line in source.read_text().splitlines()]
    known = {}
    for one in definitions:
        elements = [element for element in one["elements"] if "." in element["path"]]
        parts = {element["path"].rsplit(".", 1)[0] for element in elements} - {one["name"]}
        kind = ("abstract" if one["abstract"] else "") + KINDS[one["kind"]]
        known[one["name"]] = (kind, one["base"], [])
        for element in elements:
            parent, name = element["path"].rsplit(".", 1)
            if element["path"] in parts:
                known[element["path"]] = ("part", element["types"][0], [])
            if element["max"] != "0":
                count = "?" if element["max"] == "1" else "*"
                known[parent][2].append((name, count, "|".join(types_of(element, parts))))

    def inherited(name):
        kind, base, elements = known.get(name, ("", "", []))
        return {name for name, _, _ in elements} | (inherited(base) if base else set())

    lines = []
    for name, (kind, base, elements) in sorted(known.items()):
        of_base = inherited(base) if base else set()
        # A primitive's `value` is the JSON value itself.
        own = sorted(one for one in elements if one[0] not in of_base and kind != "primitive")
        lines.append("\t".join([name, kind, base, " ".join("".join(one) for one in own)]) + "\n")
    target.write_text("".join(lines))
    print(f"{len(lines)} types")


if __name__ == "__main__":
    here = pathlib.Path(__file__).resolve().parent.parent / "src" / "elements" / "r4.tsv"
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else here)
