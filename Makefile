# Everything a newcomer types. Needs Python >= 3.11 and make; `demo` and `test` do all their own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCHES ?= planning makespan conflicts peers dag_parse triggerer
SCENARIO ?= demo-environments
# Two more than cores: stories wait for machines to boot. As tests/conftest.py orders them, the longest begin first.
WORKERS ?= 4
# Not what a shell may have exported by that name.
ENVIRONMENT := $(if $(filter command line,$(origin ENVIRONMENT)),$(ENVIRONMENT),all)
export PYTHONPATH := include
export NO_PROXY := 127.0.0.1,localhost
export no_proxy := 127.0.0.1,localhost
# Without bytecode every task of Airflow compiles what it imports: a rotation takes half as long again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test needed check bench proving-ground down clean lock schema

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## the virtual environment and the control plane's binaries
	@$(BIN)/python -m proving_ground.control_plane.build

$(VENV)/.installed: requirements.lock pyproject.toml tools/setup
	@CONTROL_PLANE="$(filter setup demo test proving-ground,$(MAKECMDGOALS))" tools/setup "$(PYTHON)" "$(VENV)"
	@touch $@

demo: setup ## Airflow takes an image through dev, staging and prod, watched by observers; ENVIRONMENT=dev: one group, 6 minutes
	@$(BIN)/python -m proving_ground.demo $(ENVIRONMENT)

test: $(if $(TESTS),,needed) setup ## every test, on the real control plane and a real Airflow
	@$(BIN)/python -m proving_ground.control_plane.build kubectl
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

needed: # said first, not half an hour later
	@for program in chromium prometheus; do command -v $$program >/dev/null || { \
	  echo "make test needs $$program on the PATH: on Debian and Ubuntu apt-get install chromium prometheus"; exit 1; }; done

check: $(VENV)/.installed ## lint, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.installed ## the numbers that the documents quote; fails if one misses its limit
	@missed=""; for b in $(BENCHES); do echo "== $$b"; $(BIN)/python -m bench.$$b || missed="$$missed $$b"; done; \
	if [ -n "$$missed" ]; then echo "missed their limits, or failed:$$missed" >&2; exit 1; fi

proving-ground: setup ## a Kubernetes control plane and an AWS to play with, in the background
	@$(BIN)/python -m proving_ground.control_plane.build kubectl
	@$(BIN)/python -m proving_ground up $(SCENARIO)

down: ## stop exactly what demo and proving-ground started
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m proving_ground.demo down; fi

clean: down ## forget everything but the cached control plane
	@rm -rf $(VENV) .airflow .proving-ground out build dist include/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

lock: ## requirements.lock from requirements.txt (needs uv)
	@uv pip compile -q --universal --python-version 3.11 --no-header --generate-hashes requirements.txt -o requirements.lock

schema: $(VENV)/.installed ## docs/*.schema.json from the code
	@$(BIN)/python -m node_rotation.schema
