# Every habit of this project is a target. `make` alone says which there are.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help lab lab-up lab-down test test-kernel bench bench-kernel lint proto health-doc install clean setup

BIN := .venv/bin
PYTHON_SOURCES := agent netns-lab tests tools

help: ## Say what there is
	@echo "powernode-agent: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what development needs (apt packages, .venv); does nothing when it is all there
	@tools/setup.sh

lab: setup ## See it work: an internet of namespaces, real agents, the runbook's phases; then tear down
	@$(BIN)/python -m netns_lab.scenario

lab-up: setup ## Bring the lab up and leave it up, to look around (netns-lab exec, call, logs)
	@$(BIN)/netns-lab up

lab-down: setup ## Take the lab down, whatever state it is in
	@$(BIN)/netns-lab down

test: setup ## See it tested: unit tests and tests in network namespaces
	@$(BIN)/python -m pytest $(ARGS)

test-kernel: setup ## See it tested on the kernel's own WireGuard, in a virtual machine that this boots
	@tools/setup.sh --kernel || true  # what is missing then is named as the reason to skip
	@$(BIN)/python tests/kernel/run.py $(ARGS)

bench: setup ## Measure what the project promises about speed, side by side, with ratios
	@$(BIN)/python tests/bench/run.py $(ARGS)

bench-kernel: setup ## Measure kernel WireGuard beside wireguard-tools, in the same virtual machine
	@tools/setup.sh --kernel || true  # what is missing then is named as the reason to skip
	@$(BIN)/python tests/bench/kernel.py

lint: setup ## ruff, mypy --strict, and whether the generated stubs are fresh
	@$(BIN)/ruff check $(PYTHON_SOURCES)
	@$(BIN)/ruff format --check --quiet $(PYTHON_SOURCES)
	@$(BIN)/mypy agent/powernode_agent netns-lab/netns_lab
	@tools/proto.sh --check

proto: setup ## Generate the stubs of proto/ anew
	@tools/proto.sh

health-doc: ## Write agent/HEALTH.md anew after a change in the table of health codes
	@$(BIN)/python tools/health_doc.py

install: ## Put a working service on this host (root)
	@systemd/install.sh

clean: ## Remove what the other targets made in this tree
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
