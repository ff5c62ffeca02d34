#!/usr/bin/env python3
"""Serve one container of Azure Blob Storage from memory (Microsoft's Azurite), until stdin ends.

    azurite.py AZURITE_BLOB     the program

Prints {"endpoint": ..., "container": ...}. The account and its key are those that everybody's emulator has.
"""

import base64
import hashlib
import hmac
import json
import re
import subprocess
import sys
import urllib.request
from datetime import datetime, timezone

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "lakes"
VERSION = "2021-12-02"


def make_container(endpoint: str) -> None:
    """One request, signed as the service wants it (Shared Key)."""
    date = datetime.now(timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    resource = f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{VERSION}\n{resource}"
    signature = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": VERSION,
        "authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}",
        "content-length": "0",
    }
    url = f"{endpoint}/{ACCOUNT}/{CONTAINER}?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).close()


def main() -> None:
    options = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    server = subprocess.Popen([sys.argv[1], *options], stdout=subprocess.PIPE, text=True)
    try:
        listening = (re.search(r"successfully listens on (\S+)", line) for line in server.stdout)
        endpoint = next(found.group(1) for found in listening if found)
        make_container(endpoint)
        print(json.dumps({"endpoint": endpoint, "container": CONTAINER}), flush=True)
        sys.stdin.read()
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
