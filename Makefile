# Everything from a fresh clone: Python 3.11+ (with venv), Node 22+ and make are all that is needed beforehand.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export npm_config_loglevel := error
# Bytecode is kept even where the environment forbids it: each of many processes would compile the CDK library again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo docs test release audit lint repeated typecheck test-fast test-slow test-nightly test-packaging test-e2e coverage metric-names pictures barcode-reader lock clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: .venv/.ready .venv-checkov/.ready node_modules/.ready ## Install the locked tools into this folder

demo: .venv/.ready node_modules/.ready ## Deploy to a local cloud, provision devices, see clones refused
	@$(BIN)/secretfree demo $(DEMO_ARGS)

# What comes first fails first. Two targets that keep one core busy each run beside each other, the longest first.
test: setup ## Everything that CI runs
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target typecheck lint docs repeated
	@$(MAKE) --no-print-directory coverage
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-e2e test-packaging test-slow

docs: .venv/.ready ## The documentation site, into build/site; a dead link ends it
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

release: setup ## Wheel, sdist, SBOMs and provenance of this commit, into dist
	@rm -rf dist
	@$(BIN)/python release/build.py

audit: .venv/.ready ## Not in CI: the known vulnerabilities of the locked dependencies, which a service knows
	@for lock in requirements/wheel.txt cdk/cdk_iot_secretfree/bundling/requirements/runtime.txt requirements/dev.txt; do \
	  $(BIN)/pip-audit --strict --disable-pip --require-hashes -r $$lock || exit; done

# Files with no text of ours would slow down the search for secrets.
NO_TEXT := ^requirements/.*txt$$|^package-lock|[.](der|png|wasm)$$|^tests/fuzz/corpus/
lint: .venv/.ready ## Style, format, spelling, secrets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@git ls-files -z | xargs -0 $(BIN)/codespell
	@git ls-files -z | grep -zvE '$(NO_TEXT)' | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

repeated: .venv/.ready ## Repeated code: no ten lines twice
	@PYTHONPATH=tests $(BIN)/python -m support.repeated_code -d 10 -i --ignore-comments --ignore-docstrings --ignore-signatures $$(git ls-files 'cdk/*.py' 'lambda_src/*.py' 'cli/*.py' 'device/*.py') \
	  | grep 'duplicates=0 ' >/dev/null || { echo "Code of ten lines and more is repeated; $(BIN)/symilar -d 10 -i FILES shows it" >&2; exit 1; }

typecheck: .venv/.ready ## mypy --strict
	$(BIN)/mypy
	$(BIN)/mypy tests/cdk/typing_api.py

# Many slow tests wait for a server or a process: three workers keep two cores busy.
WORKERS = $$(( ($$(getconf _NPROCESSORS_ONLN) * 3 + 1) / 2 ))
FAST = --dist loadfile -m "not e2e and not packaging and not slow and not nightly"
FOLDERS := $(addprefix tests/,lambda_src cdk architecture cli device docs examples fuzz)
test-fast: setup ## Unit and construct tests, in less than three minutes
	$(BIN)/python -m pytest -n auto $(FAST) $(FOLDERS)

test-slow: setup ## Long property runs, the fuzzer, kills and resumes, local clouds, the templates' linters
	$(BIN)/python -m pytest --timeout 900 -n $(WORKERS) --dist loadgroup -m "slow and not nightly" tests/fuzz tests/cli tests/cdk tests/docs tests/examples tests/lambda_src

test-nightly: setup ## Not in CI: runs of many minutes with new random choices, a million simulated devices
	$(BIN)/python -m pytest --timeout 3600 --hypothesis-profile nightly -n auto $(FAST) tests/fuzz tests/lambda_src tests/cli/manifests
	$(BIN)/python -m pytest --timeout 3600 -m nightly tests

coverage: setup ## The tests of test-fast, and the gate: they cover 95 % of lambda_src and cdk
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n auto $(FAST) $(FOLDERS)
	$(BIN)/coverage combine -q --keep
	$(BIN)/coverage report

test-packaging: setup ## The built wheel in fresh virtual environments
	$(BIN)/python -m pytest -m "packaging and not nightly" tests/packaging tests/cdk/bundling

test-e2e: setup ## The local cloud end to end
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "e2e and not nightly" tests/e2e

pictures: .venv/.ready ## Draw the pictures of the documents from what they show
	PYTHONPATH=tests $(BIN)/python -m support.dashboard_picture
	PYTHONPATH=tests $(BIN)/python -m support.diagrams
	PYTHONPATH=tests $(BIN)/python -m support.phone_pictures

metric-names: .venv/.ready ## Write the names of the metrics into Operations
	PYTHONPATH=tests $(BIN)/python -m support.metric_names

barcode-reader: .venv/.ready ## Fetch the barcode reader of the scanning page, check its digest and put it into the package
	$(BIN)/python release/vendor_barcode_reader.py

lock: .venv/.ready ## Renew the hash-locked requirement files
	@set -- $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate; \
	  "$$@" --all-extras pyproject.toml -o requirements/dev.txt; \
	  "$$@" --extra cli --extra factory --extra pkcs11 --extra plan --extra local -c requirements/dev.txt pyproject.toml -o requirements/wheel.txt; \
	  "$$@" requirements/bootstrap.in -o requirements/bootstrap.txt; \
	  "$$@" requirements/checkov.in -o requirements/checkov.txt; \
	  "$$@" cdk/cdk_iot_secretfree/bundling/requirements/runtime.in -o cdk/cdk_iot_secretfree/bundling/requirements/runtime.txt

clean: ## Stop the local cloud and remove what was installed and built here
	@if [ -x $(BIN)/secretfree ]; then $(BIN)/secretfree local down || true; fi
	rm -rf .venv .venv-checkov node_modules .local cdk.out build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/.ready: requirements/bootstrap.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "Installing the Python tools into .venv ..."
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/bootstrap.txt
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements/dev.txt
	@# Two packages bring aws_cdk/cloud_assembly_schema, and uv installs in no order: that of aws-cdk-lib must be there.
	@sed -n '/^aws-cdk-lib==/,/[^\\]$$/p' requirements/dev.txt >.venv/aws-cdk-lib.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --require-hashes --reinstall-package aws-cdk-lib -r .venv/aws-cdk-lib.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# checkov wants older libraries than the rest does: it lives apart.
.venv-checkov/.ready: requirements/checkov.txt .venv/.ready
	@echo "Installing checkov into .venv-checkov ..."
	@[ -x .venv-checkov/bin/python ] || $(PYTHON) -m venv .venv-checkov
	@$(BIN)/uv pip sync -q --python .venv-checkov/bin/python --require-hashes requirements/checkov.txt
	@touch $@

node_modules/.ready: package.json package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 22 or newer with npm is needed" >&2; exit 1; }
	@echo "Installing the CDK CLI into node_modules ..."
	@npm ci --no-audit --no-fund >/dev/null
	@touch $@
