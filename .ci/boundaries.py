"""The architecture's invariants, read off cargo's own dependency graph: which crate may know what.

Also: no Rust file of 800 lines or more. Exits with 1 and names each breach.
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONGEST = 800

ASYNC = {"tokio", "futures-util", "reqwest", "axum", "hyper"}
NETWORK = {"reqwest", "axum", "hyper", "rustls"}
COLUMNS = {"arrow", "arrow-array", "parquet"}

# Crate -> what must not be in its dependency tree (normal dependencies; tests may use more).
NEVER = {
    "fhirvest-fhir": ASYNC | NETWORK | COLUMNS | {"rusqlite", "chrono"},
    "fhirvest-crawler": COLUMNS
    | {"fhirvest-flattener", "fhirvest-lake", "fhirvest-jobs", "fhirvest-sandbox", "rusqlite"},
    "fhirvest-flattener": ASYNC | NETWORK | {"fhirvest-lake", "fhirvest-crawler", "rusqlite", "parquet", "tempfile"},
    "fhirvest-lake": NETWORK | {"fhirvest-fhir", "fhirvest-crawler", "fhirvest-flattener", "rusqlite"},
    "fhirvest-jobs": {"axum", "fhirvest-sandbox"},
    "fhirvest-sandbox": COLUMNS | {"fhirvest-crawler", "fhirvest-lake", "fhirvest-flattener", "fhirvest-jobs", "rusqlite"},
}
# Crate -> what it must not depend on itself, though a crate below may.
NEVER_DIRECTLY = {
    "fhirvest-jobs": {"reqwest", "hyper", "governor", "backoff", "parquet"},
    "fhirvest": {"reqwest", "rusqlite", "governor", "backoff"},
}
# Only here.
ONLY_IN = {"backoff": {"fhirvest-crawler"}, "governor": {"fhirvest-crawler"}, "rusqlite": {"fhirvest-jobs"}}


def tree(package: str, *more: str) -> set[str]:
    command = ["cargo", "tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}", *more]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
    names = {line.split()[0] for line in lines if line.strip()}
    return names - {package}


def main() -> int:
    breaches = []
    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--no-deps", "--format-version", "1"],
            check=True, capture_output=True, text=True, cwd=ROOT,
        ).stdout
    )
    members = {package["name"] for package in metadata["packages"]}
    for package, banned in NEVER.items():
        for name in sorted(tree(package) & banned):
            breaches.append(f"{package} must not depend on {name}, however far down")
    for package, banned in NEVER_DIRECTLY.items():
        for name in sorted(tree(package, "--depth", "1") & banned):
            breaches.append(f"{package} must not use {name} itself")
    for package in sorted(members):
        direct = tree(package, "--depth", "1")
        for name, allowed in ONLY_IN.items():
            if name in direct and package not in allowed:
                breaches.append(f"{name} is for {', '.join(sorted(allowed))} only, but {package} uses it")
        if "fhirvest-sandbox" in direct and package != "fhirvest":
            breaches.append(f"{package} must not use the sandbox outside of its tests")
    files = subprocess.run(["git", "ls-files", "*.rs"], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    for name in files.splitlines():
        path = ROOT / name
        lines = path.read_text().count("\n") if path.exists() else 0
        if lines >= LONGEST:
            breaches.append(f"{name} has {lines} lines: split it, {LONGEST - 1} is the most")
    for breach in breaches:
        print(f"boundary: {breach}", file=sys.stderr)
    print(f"boundaries: {len(members)} crates, {len(files.splitlines())} files, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
