# Needs Python 3.11 or newer, make and git; everything else goes into $(VENV), from hashed locks.
VENV ?= .venv
TOPIC ?= solar sails
ARGS ?=
PY := $(VENV)/bin/python
LINTED = src tests examples bench tools bridge
SOURCES = $(wildcard $(LINTED))

.DEFAULT_GOAL := help
.PHONY: help demo test check fmt cover bench lock clean venv-run venv-dev

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: TOPIC='...' (demo), ARGS='...' (test, bench), PYTHON=python3.12 VENV=.venv312 (another interpreter)"

demo: venv-run ## Run the playbook example on TOPIC; needs no key and no network
	@$(PY) examples/playbook.py "$(TOPIC)"

test: venv-dev ## Run all tests, on two processes
	$(PY) -m pytest -n 2 $(ARGS)

check: venv-dev ## Lint, format, types (strict), import law, size law
	$(PY) -m ruff check $(SOURCES)
	$(PY) -m ruff format --check $(SOURCES)
	$(PY) -m pyright --pythonpath $(PY)
	$(PY) tools/imports.py
	$(PY) tools/ratchet.py

fmt: venv-dev ## Format, and fix what the linter can fix by itself
	$(PY) -m ruff check --fix-only $(SOURCES)
	$(PY) -m ruff format $(SOURCES)

cover: venv-dev ## Run the tests once more and list the lines and branches that none reaches
	$(PY) -m coverage run -m pytest $(ARGS)
	$(PY) -m coverage report

bench: venv-dev ## Measure speed and memory against the budget
	$(PY) -m bench $(ARGS)

lock: ## Pin the newest allowed versions into requirements/*.txt
	@sh tools/lock.sh

clean: ## Remove the environments, caches and build results
	rm -rf .venv* .lock-venv build dist .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

venv-run venv-dev: venv-%:
	@VENV="$(VENV)" PYTHON="$(PYTHON)" sh tools/venv.sh $*
