# The two commands of this project are `make demo` and `make test`; `make help` lists all.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint lint-tools bench screenshots lock clean
PYTHON ?=
ARGS ?=
# Most tests wait for a server, so more of them run side by side than there are processors; WORKERS=0 is one by one.
WORKERS ?= 4
export PYTHON

help:
	@echo 'make demo          open the dashboard over an embedded real Triton server with sample models'
	@echo 'make test          run the tests                      (ARGS="-k floors" passes arguments to pytest; WORKERS=0 one by one)'
	@echo 'make setup         only make .venv; demo and test do it themselves, once'
	@echo 'make lint          ruff, mypy --strict and the import floors'
	@echo 'make bench         measure start-up, key latency, idle cost and parsing'
	@echo 'make screenshots   make screenshots/ anew from the running demo'
	@echo 'make lock          pin the packages anew              (ARGS=--upgrade takes the newest ones)'
	@echo 'make clean         remove everything that was made here'
	@echo 'A certain Python:  make setup PYTHON=/usr/bin/python3.12'

setup:
	@scripts/setup

demo: setup
	@.venv/bin/tritonctl demo $(ARGS)

test: setup
	@.venv/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# The linters have an environment of their own; mypy reads the packages of .venv.
lint-tools: setup
	@scripts/environment .venv-lint requirements/lint.txt

lint: lint-tools
	@echo 'lint: ruff check'
	@.venv-lint/bin/ruff check --quiet .
	@echo 'lint: ruff format'
	@.venv-lint/bin/ruff format --check --quiet .
	@echo 'lint: mypy --strict (about 20 s the first time)'
	@.venv-lint/bin/mypy --python-executable .venv/bin/python --no-error-summary
	@echo 'lint: import floors'
	@.venv-lint/bin/lint-imports --no-logo

bench: setup
	@.venv/bin/python -m benchmarks $(ARGS)

screenshots: setup
	@.venv/bin/python -m screenshots $(ARGS)

lock:
	@scripts/environment .venv-lock requirements/lock.txt
	@scripts/lock $(ARGS)

clean:
	@rm -rf .venv .venv-lint .venv-lock build dist *.egg-info
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
