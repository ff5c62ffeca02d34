#!/usr/bin/env python3
"""Serve a folder of NDJSON from sekmet-fhir, a FHIR server of other hands, behind a bearer token.

    sekmet.py FOLDER

Starts the server on a free port, PUTs every resource of FOLDER/*.ndjson, then prints one line of JSON,
{"base_url": ..., "token": ..., "loaded": {"Practitioner": 2000, ...}}, and stays up until stdin closes.
Everything it writes lives in a temporary folder that goes with it. Any resource that is refused ends it with 1.
"""

import json
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import yaml

START_SECONDS = 60
LOADERS = 4


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def settings(port: int, token: str, home: Path) -> dict:
    return {
        "base_url": f"http://127.0.0.1:{port}/fhir",
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(home / "data"),
        "server_auth": {"types": ["bearer"], "tokens": [token]},
        # The reference data is dirty on purpose: identifiers as integers.
        "validation": {"inbound": "off"},
        "simulator": {"enabled": False},
        "log_inbound": False,
    }


def wait_until_up(client: httpx.Client, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"sekmet ended with {server.returncode} while starting:\n{log.read_text()[-2000:]}")
        try:
            if client.get("metadata").status_code < 500:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    sys.exit(f"sekmet did not answer within {START_SECONDS} s:\n{log.read_text()[-2000:]}")


def load(client: httpx.Client, folder: Path) -> dict[str, int]:
    def put(line: str) -> str:
        resource = json.loads(line)
        place = f"{resource['resourceType']}/{resource['id']}"
        answer = client.put(place, content=line.encode(), headers={"content-type": "application/fhir+json"})
        if answer.status_code not in (200, 201):
            raise RuntimeError(f"PUT {place}: {answer.status_code} {answer.text[:500]}")
        return resource["resourceType"]

    loaded: dict[str, int] = {}
    for file in sorted(folder.glob("*.ndjson")):
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        with ThreadPoolExecutor(LOADERS) as pool:
            for kind in pool.map(put, lines):
                loaded[kind] = loaded.get(kind, 0) + 1
    if not loaded:
        sys.exit(f"{folder} has no *.ndjson with a resource in it")
    return loaded


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    token = secrets.token_urlsafe(24)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sekmet-") as name:
        home = Path(name)
        config, log = home / "settings.yaml", home / "server.log"
        config.write_text(yaml.safe_dump(settings(port, token, home)))
        sekmet = Path(sys.executable).parent / "sekmet"
        with log.open("wb") as output:
            server = subprocess.Popen([sekmet, "serve", "-c", config], cwd=home, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            base = f"http://127.0.0.1:{port}/fhir"
            with httpx.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=60) as client:
                wait_until_up(client, server, log)
                loaded = load(client, folder)
            print(json.dumps({"base_url": base, "token": token, "loaded": loaded}), flush=True)
            sys.stdin.read()
        finally:
            server.terminate()
            server.wait(timeout=30)


if __name__ == "__main__":
    main()
