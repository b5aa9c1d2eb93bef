# Everything a newcomer or CI needs. Each target works alone, from nothing, and again.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
UPSTREAM := .venv-upstream
BENCH := .venv-bench
BIN := $(CURDIR)/$(VENV)/bin
export CARGO_TERM_COLOR ?= auto
export PIP_DISABLE_PIP_VERSION_CHECK := 1

RUST_SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml

.PHONY: help demo test test-rust test-python lint format bench wheel fuzz clean toolchain servers

help: ## Show this text
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.release ## Set up, then show a producer and a consumer exchanging real data
	$(BIN)/python examples/demo.py

test: test-rust test-python ## Set up and run all the tests

test-python: $(VENV)/.native $(UPSTREAM)/.ready servers
	$(BIN)/python -m pytest

test-rust: toolchain servers
	cargo test --workspace --exclude proxystore-python --locked

lint: $(VENV)/.native ## Check formatting, lints and types
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/stubtest proxystore._native --allowlist tests/stubtest_allowlist.txt

format: $(VENV)/.ready ## Format all code
	cargo fmt --all
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(BENCH)/.ready $(UPSTREAM)/.ready toolchain servers ## Measure against upstream, its peers and the machine; writes benches/RESULTS.md
	$(BENCH)/bin/python -m benches.python.report

wheel: $(VENV)/.ready ## Build the manylinux wheel and try it where there is no compiler
	rm -rf dist
	PATH="$(BIN):$$PATH" $(BIN)/maturin build --profile wheel --locked --zig --compatibility manylinux2014 --out dist
	$(BIN)/python examples/try_wheel.py dist/*.whl

fuzz: $(VENV)/.ready ## Build the fuzz targets on the stable toolchain and run each for a while
	./fuzz/run

clean: ## Remove everything that was built or installed here
	rm -rf target fuzz/target dist $(VENV) $(UPSTREAM) $(BENCH)
	find python -name '*.so' -delete

# --- What the targets stand on -------------------------------------------------------------------

toolchain:
	@./.ci/toolchain $(PYTHON)

servers:
	@./.ci/servers

$(VENV)/.ready: requirements-dev.txt constraints.txt | toolchain
	@./.ci/venv $(PYTHON) $(VENV)
	$(VENV)/bin/pip install --quiet --requirement requirements-dev.txt --constraint constraints.txt
	$(VENV)/bin/pip install --quiet --no-deps --constraint constraints.txt proxystore-ex
	@touch $@

# One of .native (debug, for tests) and .release (for the demo) is current: both install into $(VENV).
$(VENV)/.native: $(VENV)/.ready $(RUST_SOURCES)
	PATH="$(BIN):$$PATH" VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --quiet --locked
	@rm -f $(VENV)/.release && touch $@

$(VENV)/.release: $(VENV)/.ready $(RUST_SOURCES)
	PATH="$(BIN):$$PATH" VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --quiet --locked --release
	@rm -f $(VENV)/.native && touch $@

$(UPSTREAM)/.ready: requirements-upstream.txt constraints.txt | toolchain
	@./.ci/venv $(PYTHON) $(UPSTREAM)
	$(UPSTREAM)/bin/pip install --quiet --requirement requirements-upstream.txt --constraint constraints.txt
	@touch $@

$(BENCH)/.ready: $(VENV)/.ready $(RUST_SOURCES) requirements-bench.txt $(shell find python -name '*.py')
	@./.ci/venv $(PYTHON) $(BENCH)
	$(BENCH)/bin/pip install --quiet --requirement requirements-bench.txt --constraint constraints.txt
	rm -rf target/bench-wheel
	PATH="$(BIN):$$PATH" $(BIN)/maturin build --quiet --release --locked --out target/bench-wheel
	$(BENCH)/bin/pip install --quiet --force-reinstall --no-deps target/bench-wheel/*.whl
	@touch $@
