# One word a chore. `make run` and `make test` work on a fresh clone with git, make and Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? cores : 4)))
unexport PYTHONDONTWRITEBYTECODE # of many images: with nothing compiled, each start of a command takes two to three times as long
IN_WORKERS := --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder # a module goes to one worker

.PHONY: setup run test test-slow test-long coverage check docs lock upgrade bench up

setup: .venv/ready

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Retune needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/python infra/install.py
	$(BIN)/python infra/merge_driver.py
	touch .venv/ready

run: setup            ## the shipped sample, from raw records to a registered model
	$(BIN)/retune ingest tests/samples/tickets.csv --text body --label queue --id ticket_id --group customer_id \
		--licence 'Apache-2.0 (synthetic, made by tests/samples/generate.py)'
	$(BIN)/retune run

test: setup           ## minutes; `make test WORKERS=1` where little memory is
	$(BIN)/pytest $(IN_WORKERS) --durations=25

test-slow: setup      ## what takes longer
	$(BIN)/pytest $(IN_WORKERS) -m 'slow and not long' --durations=25

test-long: setup      ## real servers, real kills, the whole road many times: hours; `--moments 200` asks for more
	$(BIN)/pytest -m long

coverage: setup       ## the fast tests once more, with a report of the branches that they take
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(IN_WORKERS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: setup          ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup           ## the reference pages, then the site into site/; fails on a link that leads nowhere
	$(BIN)/python -m docs.generate
	$(BIN)/zensical build --clean --strict

lock: setup           ## requirements.lock for what pyproject.toml needs now; a version that still fits stays
	$(BIN)/python infra/lock.py

upgrade: setup        ## the newest version of everything; then `make check test` judges
	$(BIN)/python infra/lock.py --upgrade

up: setup             ## the servers and a worker, on this machine; `retune down` stops them
	$(BIN)/retune up

bench: setup          ## what orchestration costs, a public dataset, a simulated year: about two hours on two cores
	$(BIN)/python bench/orchestration.py
	$(BIN)/python bench/banking77.py
	$(BIN)/python bench/year.py
