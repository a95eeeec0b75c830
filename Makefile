# SPDX-License-Identifier: Apache-2.0
# Each target sets up what it needs. Paths are relative: the folder's own may hold spaces.
.POSIX:
.SUFFIXES:

PYTHON = python3
DEMO_IMAGE = 256
DEMO_FLAGS =
T = all
PYTEST_FLAGS =
SETUP = PYTHON="$(PYTHON)" sh packaging/venv.sh
RUN = .venv/bin/python

help:
	@echo 'make demo    a device onboards before your eyes (DEMO_IMAGE=16 for small disks)'
	@echo 'make test    all tests; make test T=quick leaves the slow ones out'
	@echo 'make lint    types, style and layers'
	@echo 'make floors  the tests with the oldest supported dependencies'
	@echo 'make bench   speed and memory beside a reference'
	@echo 'make mutation  mutate the trust core and see the tests notice (long)'
	@echo 'make clean   remove what these made'

demo:
	@$(SETUP) run
	@$(RUN) -m xpu_emulator demo --folder build/demo --image-size $(DEMO_IMAGE) $(DEMO_FLAGS)

test:
	@$(SETUP) test
	@$(RUN) -m tests.run $(T) $(PYTEST_FLAGS)

lint:
	@$(SETUP) test
	@$(RUN) -m ruff check agent emulator tests
	@$(RUN) -m ruff format --check agent emulator tests
	@$(RUN) -m mypy
	@PYTHONPATH=agent:emulator .venv/bin/lint-imports --no-cache

floors:
	@PYTHON="$(PYTHON)" sh tests/floors.sh

bench:
	@$(SETUP) test
	@$(RUN) -m tests.bench

mutation:
	@$(SETUP) test
	@$(RUN) -m tests.mutation

clean:
	rm -rf .venv .venv-floors build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help demo test lint floors bench mutation clean
