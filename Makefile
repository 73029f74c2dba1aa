# Every target sets up what it needs; none needs another to have run first. `make help` lists
# them from the comments below.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
PREFIX ?= /usr/local
BIN := .venv/bin

.PHONY: help setup demo test check fmt bench bench-full bench-peers fuzz install uninstall clean-mounts

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' Makefile

setup: ## install what is missing (apt packages, .venv with pinned Python packages)
	@scripts/setup

demo: ## build real TypeScript and C projects on a mount, in a sandbox
	@scripts/setup --demo
	@demo/run

test: ## run all tests
	@scripts/setup --test
	@$(BIN)/python scripts/test.py

check: setup ## run the linters, the type checker, and the checks of imports and documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/tidy

fmt: setup ## format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure against tmpfs and the other file systems that are installed
	@$(BIN)/python benchmarks/run.py

bench-full: setup ## the same with 20,000 files and more rounds, archives and a plot (about an hour)
	@$(BIN)/python benchmarks/run.py --full --plot docs/performance.svg
	@$(BIN)/python benchmarks/archives.py

bench-peers: ## install the file systems that the benchmarks compare with (apt)
	@scripts/setup --peers

fuzz: setup ## throw random input at the decoders and the providers, with new seeds
	@$(BIN)/python scripts/fuzz.py
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements-fuzz.txt
	@$(BIN)/python scripts/fuzz_archive.py

install: setup ## install vfsd under PREFIX (/usr/local): its own environment and bin/vfsd
	@scripts/install install "$(PREFIX)"

uninstall: ## remove what `make install` put under PREFIX
	@scripts/install uninstall "$(PREFIX)"

clean-mounts: ## unmount what killed vfsd daemons left behind; nobody else's mounts
	@scripts/clean-mounts
