# The commands of the project. CI calls these and nothing else.
#
# A fresh machine needs Rust, git, make and python3; everything else is put into target/.

SHELL := /bin/bash
CARGO ?= cargo
PYTHON ?= python3
VENV := target/venv
CONFORMANCE_VENV := target/venv-conformance
AZURITE := target/azurite
OLDEST_DUCKDB_VENV := target/venv-duckdb-1.1
BENCH_VENV := target/venv-bench
OIDC := target/oidc
export FHIRVEST_PYTHON := $(CURDIR)/$(VENV)/bin/python
export FHIRVEST_OLDEST_DUCKDB_PYTHON := $(CURDIR)/$(OLDEST_DUCKDB_VENV)/bin/python
export FHIRVEST_CONFORMANCE_PYTHON := $(CURDIR)/$(CONFORMANCE_VENV)/bin/python
# `cargo test` runs in each crate's folder, so the path must not be relative.
export FHIRVEST_SHARED := $(abspath $(or $(FHIRVEST_SHARED),../shared))

.DEFAULT_GOAL := help
.PHONY: help run test check e2e conformance tables bench doc ci fmt clippy deny boundaries venv release schemas

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

run: ## Build, run every job against the built-in sandbox into ./lake, and say what to do next
	$(CARGO) run --quiet --package fhirvest -- run

test: venv ## Run every test that needs nothing but the project
	$(CARGO) test --workspace

e2e: venv ## Run only the tests that drive the binary like a user
	$(CARGO) test --package fhirvest --test e2e

conformance: venv $(CONFORMANCE_VENV)/.ready $(OLDEST_DUCKDB_VENV)/.ready $(OIDC)/.ready $(AZURITE)/.ready ## Test against real data and servers that no one here wrote (FHIRVEST_SHARED, default ../shared)
	@test -d "$(FHIRVEST_SHARED)/data" || { echo "$(FHIRVEST_SHARED)/data is missing: set FHIRVEST_SHARED"; exit 1; }
	$(CARGO) test --workspace -- --ignored

tables: ## Write docs/tables.md, the data dictionary, from the shipped views
	$(CARGO) build --quiet --package fhirvest
	$(PYTHON) docs/tables.py target/debug/fhirvest > docs/tables.md

bench: $(BENCH_VENV)/.ready ## Measure the hot paths (release build)
	FHIRVEST_BENCH_PYTHON=$(CURDIR)/$(BENCH_VENV)/bin/python $(CARGO) bench --workspace

doc: ## Build the documentation, warnings refused
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

fmt:
	$(CARGO) fmt --all -- --check

clippy:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny: ## Check licences, advisories and bans, where cargo-deny is there and its database can be had
	.ci/deny

boundaries: ## Check the crates' boundaries and the size of files
	$(PYTHON) .ci/boundaries.py

check: fmt clippy boundaries ## What to run before a commit

schemas: ## Write config/schema anew from the program
	mkdir -p config/schema
	for kind in job api platform value-sets; do $(CARGO) run --quiet --package fhirvest -- config schema $$kind > config/schema/$$kind.json || exit 1; done

release: ## Build the binary to ship
	$(CARGO) build --release --package fhirvest

ci: fmt clippy doc deny boundaries test conformance ## Everything that CI checks

venv: $(VENV)/.ready
$(VENV)/.ready: tests/support/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
$(OLDEST_DUCKDB_VENV)/.ready: tests/support/requirements-duckdb-1.1.txt
	$(PYTHON) -m venv $(OLDEST_DUCKDB_VENV)
	$(OLDEST_DUCKDB_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
$(CONFORMANCE_VENV)/.ready: tests/support/requirements-conformance.txt
	$(PYTHON) -m venv $(CONFORMANCE_VENV)
	$(CONFORMANCE_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
$(OIDC)/.ready: $(addprefix tests/support/oidc/,package.json package-lock.json provider.mjs)
	@command -v npm >/dev/null || { echo "npm is missing: make conformance needs Node.js 20 or newer, for the OpenID provider of its sign-in tests"; exit 1; }
	mkdir -p $(OIDC)
	cp $^ $(OIDC)
	cd $(OIDC) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@
$(AZURITE)/.ready: $(addprefix tests/support/azurite/,package.json package-lock.json)
	@command -v npm >/dev/null || { echo "npm is missing: make conformance needs Node.js 20 or newer, for the emulator of Azure's storage"; exit 1; }
	mkdir -p $(AZURITE)
	cp $^ $(AZURITE)
	cd $(AZURITE) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@
$(BENCH_VENV)/.ready: tests/support/requirements-bench.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
