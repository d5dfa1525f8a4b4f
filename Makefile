# Every command of the warehouse; `make help` lists them. What they do beyond a line is Python: see scripts/.
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules --no-print-directory
SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
# Stamps build on each other.
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
# The Python (3.11 to 3.13) that the virtual environment is made from.
PYTHON ?= python3
UV ?= $(shell command -v uv)

# Options of single commands, see `make help`.
SQL ?=
PG ?=
START ?=
END ?=
SYMBOLS ?=
TIMEFRAMES ?=
SOURCE ?=
SELECT ?=
OLDER_THAN ?=
DRY_RUN ?=
PART ?=
FILE ?=
DATABASE ?=
# Not from the environment: shells set HOST, and a server that listens to everybody must be asked for.
HOST :=
PORT :=
EVERY ?=
CAMPAIGNS ?=
SEEDS ?=
TIME ?=
# By the environment, because it keeps quotes and line ends as they are.
export SQL PG

option = $(if $($(1)),--$(2) '$($(1))')
selection = $(call option,SYMBOLS,symbols) $(call option,TIMEFRAMES,timeframes) $(call option,SOURCE,source)
window = $(call option,START,start) $(call option,END,end)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##### Set-up

# Stamps: what production needs, what the demo and the docs need on top, all that development needs, and this project.
RUNTIME := $(VENV)/.requirements $(VENV)/.project
WITH_EXTRAS := $(VENV)/.requirements-demo $(VENV)/.project
EVERYTHING := $(VENV)/.requirements-dev $(VENV)/.project
WITH_SPARK := $(VENV)/.requirements-spark $(VENV)/.project

.PHONY: setup
setup: $(EVERYTHING) ## make .venv from the lock file (with uv where it is installed, else pip)
	@echo 'ready: `. .venv/bin/activate` for this shell, then market list, market add AAPL BTC, make doctor, make run'

$(VENV)/.requirements: requirements.lock
	$(call install,requirements.lock)
	@touch $@

$(VENV)/.requirements-demo: requirements-demo.lock
	$(call install,requirements-demo.lock)
	@touch $(VENV)/.requirements $@

$(VENV)/.requirements-dev: requirements-dev.lock
	$(call install,requirements-dev.lock)
	@touch $(VENV)/.requirements $(VENV)/.requirements-demo $@

$(VENV)/.requirements-spark: requirements-spark.lock $(VENV)/.requirements
	$(call install,requirements-spark.lock)
	@touch $@

# No isolated build: the one thing that one would need, setuptools, is in the lock.
$(VENV)/.project: pyproject.toml scripts/environment.py $(VENV)/.requirements
	@$(pip) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m scripts.environment
	@touch $@

ifneq ($(strip $(UV)),)
venv = [ -x $(BIN)/python ] || $(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
pip = $(UV) pip install --quiet --python $(BIN)/python
else
venv = $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
pip = $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile
endif

# The lock is complete, so nothing is resolved (--no-deps): faster, and older versions of pip cannot stumble over extras.
# Bytecode is compiled here, not at the first run: PYTHONDONTWRITEBYTECODE may be set, and it halves every start-up.
define install
@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	{ echo 'Python 3.11 to 3.13 is needed: say where it is, e.g. make setup PYTHON=python3.12' >&2; exit 1; }
@echo 'installing $(1) into $(VENV) (once, a minute or two)'
@$(venv)
@$(pip) --no-deps --require-hashes -r $(1)
@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
endef

# The charting library for the tests. Every site fetches its own where this one is not there (scripts/site/dashboard.py).
CHARTS := scripts/site/node_modules/.package-lock.json

.PHONY: charts
charts: $(CHARTS)

$(CHARTS): scripts/site/package-lock.json
	@if command -v npm >/dev/null; then \
		npm ci --prefix scripts/site --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && touch $@ || \
		echo 'npm could not fetch the charting library' >&2; \
	else echo 'npm is not installed' >&2; fi

##### The warehouse

.PHONY: up
up: $(RUNTIME) ## start the embedded Postgres (nothing to do where PGHOST is set)
	@$(BIN)/python -m scripts.postgres up

.PHONY: down
down: $(RUNTIME) ## stop it; its data stay
	@$(BIN)/python -m scripts.postgres down

.PHONY: psql
psql: $(RUNTIME) ## a prompt on the warehouse, a query from stdin, or: make psql SQL="select 1"
	@$(BIN)/python -m scripts.postgres psql $(if $(SQL),--command "$$SQL")

.PHONY: demo
demo: $(WITH_EXTRAS) ## the whole pipeline on real and synthetic data, without key, server or network
	@$(BIN)/market demo

.PHONY: extract
extract: $(RUNTIME) ## load what is new of every enabled asset [SYMBOLS= TIMEFRAMES= SOURCE= START= END=]
	@$(BIN)/market extract $(selection) $(window)

.PHONY: run
run: $(RUNTIME) ## extract, build, alerts, metrics, site: the whole pipeline under one lock
	@$(BIN)/market run

.PHONY: schedule
schedule: $(RUNTIME) ## stay, and run daily at ENRICHMENT_SCHEDULE_HOUR:MINUTE UTC [EVERY=5m: intraday bars, too]
	@exec $(BIN)/market schedule $(call option,EVERY,every)

.PHONY: migrate
migrate: $(RUNTIME) ## bring the tables of schemas ops and raw_* to this version (extract and run do it, too)
	@$(BIN)/market migrate

.PHONY: build
build: $(RUNTIME) ## dbt build: models, seeds, snapshots, tests
	@$(BIN)/python -m scripts.postgres up
	@$(BIN)/market migrate
	@$(BIN)/dbt build

.PHONY: rebuild
rebuild: $(RUNTIME) ## after a formula was corrected: SELECT="atr vwap_20" computes these features of every bar again
	@$(if $(SELECT),,echo 'name the features whose formula changed: make rebuild SELECT="atr"' >&2; exit 78)
	@$(BIN)/python -m scripts.postgres up
	@$(BIN)/dbt build --vars '{rebuild: "$(SELECT)"}'

.PHONY: prune
prune: $(RUNTIME) ## drop raw payloads that reported nothing new: OLDER_THAN=90 (days) [DRY_RUN=1: only say which]
	@$(if $(OLDER_THAN),,echo 'say how many days old: make prune OLDER_THAN=90' >&2; exit 78)
	@$(BIN)/market prune --older-than $(OLDER_THAN) $(if $(DRY_RUN),--dry-run)

.PHONY: backup
backup: $(RUNTIME) ## dump what cannot be made again, of any server: raw answers, ops, history [FILE=]
	@$(BIN)/market backup $(if $(FILE),'$(FILE)')

.PHONY: restore
restore: $(RUNTIME) ## FILE=market.dump into an empty database, made if missing [DATABASE=]; then make build there
	@$(if $(FILE),,echo 'name the dump: make restore FILE=.warehouse/backups/market-20260101T000000Z.dump' >&2; exit 78)
	@$(BIN)/market restore '$(FILE)' $(call option,DATABASE,database)

.PHONY: restore-legacy
restore-legacy: $(RUNTIME) ## fill the old table market_data with every daily bar it lacks: the way back to the old system
	@$(BIN)/python -m scripts.postgres up
	@$(BIN)/dbt run-operation restore_old_table

.PHONY: backfill
backfill: $(RUNTIME) ## load history: START=2024-01-01 END=2024-12-31 [SYMBOLS="BTC AAPL" TIMEFRAMES="1h 1d"]
	@$(if $(and $(START),$(END)),,echo 'say from when to when: make backfill START=2024-01-01 END=2024-12-31' >&2; exit 78)
	@$(BIN)/market backfill $(window) $(selection)

.PHONY: backfill-status backfill-pause backfill-resume
backfill-status: $(RUNTIME) ## how far each backfill is
backfill-pause: $(RUNTIME) ## stop running backfills after the package they are loading
backfill-resume: $(RUNTIME) ## continue every unfinished backfill
backfill-status backfill-pause backfill-resume:
	@$(BIN)/market $@

.PHONY: serve
serve: $(RUNTIME) ## HTTP API, dashboard and /metrics on 127.0.0.1:8000 [HOST= PORT=]
	@$(BIN)/market serve $(call option,HOST,host) $(call option,PORT,port)

.PHONY: roles
roles: $(RUNTIME) ## least-privilege roles for extract, dbt and readers in the database
	@$(BIN)/market roles

.PHONY: docs
docs: $(WITH_EXTRAS) ## dbt docs, column lineage, and the feature dictionary checked on your own bars, in site/
	@$(BIN)/python -m scripts.postgres up
	@$(BIN)/market docs

.PHONY: site
site: $(WITH_EXTRAS) ## the dashboard, the charts and the docs, in site/: open site/index.html
	@$(BIN)/python -m scripts.postgres up
	@$(BIN)/market docs
	@$(BIN)/market site

.PHONY: spark
spark: $(WITH_SPARK) ## a small Spark cluster on this machine: a master, two workers (docs/operate/outgrowing_one_machine.md)
	@$(BIN)/python -m scripts.spark up
.PHONY: spark-down
spark-down: ## stop it; its tables stay
	@$(BIN)/python -m scripts.spark down

.PHONY: doctor
doctor: $(RUNTIME) ## check configuration, keys, database, clock, symbols, lock, disk; each with its fix
	@$(BIN)/market doctor

##### Development

# Two workers: a test waits for its Postgres half of the time. tests/conftest.py says which files go together, and first.
.PHONY: test
test: $(EVERYTHING) ## set-up and the whole test suite [PG=15: on Debian's PostgreSQL 15]
	@$(BIN)/python -m pytest -n 2

.PHONY: test-fast
test-fast: $(EVERYTHING) ## for while you write: ruff, mypy, sqlfluff on what changed, and every test that builds nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(MAKE) lint-sql
	@$(BIN)/python -m pytest -n 2 -q -m 'not builds and not long and not spark'

.PHONY: test-spark
test-spark: $(EVERYTHING) $(WITH_SPARK) ## the tests that ask Spark itself
	@$(BIN)/python -m pytest -q -m spark tests/spark

# Seeds that have passed at this commit are not played again, so it goes on where it was stopped (docs/develop/reliability.md).
.PHONY: torture
torture: $(EVERYTHING) ## kills, faults, histories for TIME seconds each [CAMPAIGNS="kills providers" SEEDS=1-200 TIME=600 PG=15]
	@$(BIN)/python -m tests.reliability $(CAMPAIGNS) $(call option,SEEDS,seeds) $(call option,TIME,time)

# The SQL files that differ from the last commit; `make lint` looks at all of them, which takes minutes.
.PHONY: lint-sql
lint-sql: $(EVERYTHING)
	@set -e; changed=$$(git ls-files --modified --others --exclude-standard -- 'dbt_project/*.sql'; \
		git diff --cached --name-only --diff-filter=d -- 'dbt_project/*.sql'); \
	if [ -n "$$changed" ]; then \
		$(BIN)/python -m scripts.postgres up; \
		$(BIN)/market migrate; \
		$(BIN)/sqlfluff lint --disable-progress-bar $$(printf '%s\n' $$changed | sort -u | xargs -r ls -d 2>/dev/null); \
	fi

.PHONY: hooks
hooks: $(EVERYTHING) ## let git run ruff, mypy, sqlfluff and the look for secrets before each commit
	@$(BIN)/pre-commit install

# What looks like a secret and is none: the tests' canaries and the simulator's keys, and one path.
FAKE_SECRETS := ^(simulator|secret-key|password1|wrong-key|.*-(1234|4711)|canary-.*|\{CANARY\}.*|a b\#c|spot/daily/.*|node_modules/.*)$$

.PHONY: secrets
secrets: $(EVERYTHING) ## look for secrets in all files that git knows, and for packages that do not fit together
	@$(BIN)/python -m pytest -q tests/test_packages.py
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify \
		--exclude-files '\.lock$$|package-lock\.json$$' --exclude-secrets '$(FAKE_SECRETS)'

# A virtual environment of its own: what it needs is no part of the product, and must not decide what the lock may hold.
AUDIT := $(VENV)/audit/bin/pip-audit

$(AUDIT):
	@$(PYTHON) -m venv --clear $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install -qq --disable-pip-version-check 'pip-audit==2.10.1'

.PHONY: audit
audit: $(AUDIT) ## look for known holes in what is locked (pip-audit, of the package index: needs a network)
	@$(AUDIT) --strict --progress-spinner off --disable-pip --require-hashes --requirement requirements-dev.lock

.PHONY: lint
lint: $(EVERYTHING) secrets ## ruff, mypy, borders between rooms, sqlfluff, secrets
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy
	@$(BIN)/python -m scripts.postgres up
	@$(BIN)/market migrate
	@$(BIN)/sqlfluff lint --disable-progress-bar dbt_project

.PHONY: check
check: lint test ## lint and test

.PHONY: bench
bench: $(EVERYTHING) ## the benchmarks, as ratios of one run (hours) [PART="extract transform api site servers"]
	@$(BIN)/python -m tests.benchmarks $(if $(PART),--part $(PART))

RESOLVE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes

.PHONY: lock
lock: ## resolve pyproject.toml into the four lock files, what is pinned staying as far as it may (needs uv)
	@$(if $(strip $(UV)),,echo 'uv is needed: pip install uv' >&2; exit 1)
	@$(RESOLVE) --extra dev --extra bench pyproject.toml -o requirements-dev.lock
	@$(RESOLVE) --extra demo --extra docs --constraint requirements-dev.lock pyproject.toml -o requirements-demo.lock
	@$(RESOLVE) --constraint requirements-dev.lock pyproject.toml -o requirements.lock
	@$(RESOLVE) --extra spark --constraint requirements-dev.lock pyproject.toml -o requirements-spark.lock

.PHONY: clean
clean: ## stop the embedded Postgres and remove everything generated, its data and .venv included
	@[ ! -x $(BIN)/python ] || $(BIN)/python -m scripts.postgres down >/dev/null
	@rm -rf $(dir $(CHARTS)) .warehouse $(VENV) target logs site .dlt *.egg-info .coverage bench.json .user.yml
	@rm -rf .hypothesis .schemathesis .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
