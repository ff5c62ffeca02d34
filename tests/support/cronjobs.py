"""Validates the CronJob manifests of a file by Kubernetes' own schemas, strictly, and prints their names."""

import sys

import kubernetes_validate
import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    documents = [document for document in yaml.safe_load_all(file) if document]
for document in documents:
    assert document["kind"] == "CronJob", document["kind"]
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
print(*(document["metadata"]["name"] for document in documents))
