#!/usr/bin/env python3
"""Serve one S3 bucket from memory (moto) on a free port, and misbehave when told to.

Prints {"endpoint": ..., "bucket": ...}, then takes one JSON command a line on stdin and answers each with a line:

    {"fault": "PUT .*manifest", "do": "503", "times": 3}   the next so many requests that match are treated so
    {"reached": 1}     waits until so many faults have come about since the start
    {"release": true}  lets requests go on that are held
    {"keys": true}     the keys of the bucket
    {"sync": "DIR"}    writes the bucket's objects below a folder

Faults: "503"; "reset" (the connection breaks in the middle of the body); "slow" (half a second late); "hold" (until
released, then served); "lose" (served, but the answer never arrives). It ends with its stdin.
"""

import json
import re
import socket
import sys
import threading
import time
from pathlib import Path

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "bucket-of-the-test"
HELD_SECONDS = 120


class Faults:
    """Between the client and moto."""

    def __init__(self, app):
        self.app = app
        self.rules = []
        self.reached = 0
        self.changed = threading.Condition()
        self.released = threading.Event()

    def add(self, pattern, do, times):
        with self.changed:
            self.released.clear()
            self.rules.append([re.compile(pattern), do, times])

    def take(self, request):
        with self.changed:
            for rule in self.rules:
                if rule[2] > 0 and rule[0].search(request):
                    rule[2] -= 1
                    self.reached += 1
                    self.changed.notify_all()
                    return rule[1]
        return None

    def wait(self, number):
        with self.changed:
            return self.changed.wait_for(lambda: self.reached >= number, HELD_SECONDS)

    def __call__(self, environ, start_response):
        query = environ.get("QUERY_STRING", "")
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{'?' + query if query else ''}"
        do = self.take(request)
        if do == "503":
            start_response("503 Service Unavailable", [("content-type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        if do == "slow":
            time.sleep(0.5)
        if do == "hold":
            self.released.wait(HELD_SECONDS)
        if do == "reset":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            return self.hang_up(environ)
        if do == "lose":
            body = self.app(environ, lambda *_: lambda _: None)
            b"".join(body)
            return self.hang_up(environ)
        return self.app(environ, start_response)

    @staticmethod
    def hang_up(environ):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionError("hung up on purpose")


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_):
        pass


def sync(client, folder):
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", []):
            path = Path(folder) / item["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read())


def keys(client):
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def main():
    faults = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="hidden-key"
    )
    client.create_bucket(Bucket=BUCKET)
    print(json.dumps({"endpoint": endpoint, "bucket": BUCKET}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = True
        if "fault" in asked:
            faults.add(asked["fault"], asked["do"], asked["times"])
        elif "reached" in asked:
            answer = faults.wait(asked["reached"])
        elif "release" in asked:
            faults.released.set()
        elif "keys" in asked:
            answer = keys(client)
        elif "sync" in asked:
            sync(client, asked["sync"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
