# consilium: `make run` is the product, `make test` is the proof. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .cache/make
VENV_MADE := $(VENV)/pyvenv.cfg
MODULES := web/node_modules/.package-lock.json
DIST := web/dist/index.html
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=
PYTEST_ARGS ?=
WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -print 2>/dev/null)

.PHONY: help run test check format lock bench bench-archive kill-archive fuzz web clean types openapi
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: $(STAMPS)/runtime $(DIST) $(STAMPS)/font ## Start everything on this machine; ARGS="--data DIR --port N --no-demo"
	@exec $(BIN)/consilium up $(ARGS)

test: $(STAMPS)/dev $(DIST) $(STAMPS)/font $(STAMPS)/packages $(STAMPS)/ohif ## Install what the tests need and run all of them
	@BIN=$(BIN) infra/make/test.sh $(PYTEST_ARGS)

check: $(STAMPS)/dev $(MODULES) ## Format, lint, types, import contracts, locks, generated API types, chart
	@BIN=$(BIN) infra/make/check.sh

bench: $(STAMPS)/dev $(DIST) $(STAMPS)/font ## Measure: one JSON line per figure
	@$(BIN)/python -m loadtest $(ARGS)

bench-archive: $(STAMPS)/dev infra/make/orthanc.sh ## Measure the archive against Orthanc; ARGS="--parts orthanc,embedded --instances N"
	@infra/make/orthanc.sh
	@$(BIN)/python loadtest/bench_archive.py $(ARGS)
	@$(BIN)/python loadtest/bench_dimse.py

kill-archive: $(STAMPS)/dev ## Kill the archive under load 200 times and stop its servers; ARGS="--kills N --stop-s N --worlds embedded"
	@$(BIN)/python loadtest/kill_archive.py $(ARGS)

fuzz: $(STAMPS)/dev ## Break DICOM files for ten minutes; ARGS="--minutes N --seed N"
	@$(BIN)/python loadtest/fuzz_dicom.py $(ARGS)

format: $(STAMPS)/dev $(MODULES) ## Format Python and TypeScript in place
	@$(BIN)/ruff check --quiet --fix cli libs services tests loadtest; $(BIN)/ruff format --quiet cli libs services tests loadtest
	@cd web && npm run --silent format

openapi: $(STAMPS)/dev $(MODULES) ## Write contracts/openapi/consilium.json and the client's types from it
	@$(BIN)/consilium openapi > contracts/openapi/consilium.json
	@cd web && npm run --silent gen

lock: $(STAMPS)/dev ## Resolve requirements again into hash-pinned locks; ARGS=--upgrade for newer versions
	@infra/make/lock.sh $(ARGS)

web: $(DIST) ## Build the web client

clean: ## Remove what was built (never the data)
	@rm -rf $(VENV) .cache web/dist web/node_modules .mypy_cache .ruff_cache .pytest_cache

# What a step makes stands as its target, or as a prerequisite of its stamp: who deletes .venv, node_modules or dist gets it anew.
.DELETE_ON_ERROR:

$(VENV_MADE):
	@PYTHON=$(PYTHON) VENV=$(VENV) infra/make/venv.sh

$(STAMPS)/runtime: requirements/runtime.txt requirements/build.txt pyproject.toml $(VENV_MADE)
	@echo "Installing the locked Python packages ..."
	@$(PIP) install --require-hashes -r requirements/runtime.txt
	@$(PIP) install --require-hashes -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/runtime
	@echo "Installing the locked development packages ..."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(MODULES): web/package-lock.json web/package.json web/.npmrc
	@echo "Installing the locked web packages ..."
	@infra/make/web_modules.sh
	@touch $@

$(DIST): $(MODULES) $(WEB_SOURCES)
	@echo "Building the web client ..."
	@cd web && npm run --silent build
	@touch $@

$(STAMPS)/font: infra/make/font.sh
	@infra/make/node.sh
	@infra/make/font.sh
	@mkdir -p $(STAMPS) && touch $@

# without it its test is skipped, but not in CI
$(STAMPS)/ohif: infra/make/ohif.sh
	@infra/make/ohif.sh && mkdir -p $(STAMPS) && touch $@ || [ -z "$$CI" ]

# 3: something is missing that only root can install; the script has said what, the tests that need it are skipped, next time it is asked again
$(STAMPS)/packages: infra/make/packages.sh
	@status=0; infra/make/packages.sh || status=$$?; \
	if [ $$status = 0 ]; then mkdir -p $(STAMPS) && touch $@; elif [ $$status != 3 ]; then exit $$status; fi
