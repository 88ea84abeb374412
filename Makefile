# Everything this project does, by name. `make` alone lists the targets.
#
#   PYTHON=python3.13     the interpreter .venv is made with, 3.11 or newer
#   PORT, CARRIER_PORT    for `make run`: where to listen; free ports without them
#   STACK                 for `make deploy`: a section of samconfig.toml (default, dev, prod)
#   ARGS                  further arguments of the command behind demo, run, deploy or admin; for
#                         `make pytest`, pytest's
PYTHON ?= python3
PORT ?=
CARRIER_PORT ?=
STACK ?= default
ARGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
INSTALLED := $(VENV)/installed
SCANNERS := build/scanners
# PATH is set so that child processes (sam starts make, make starts pip) use the same Python.
# PYTHONDONTWRITEBYTECODE is emptied to keep compiled modules: the tests start many processes.
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" PYTHON="$(CURDIR)/$(VENV)/bin/python" \
	PYTHONDONTWRITEBYTECODE=
# sam requires a region even to read a template, and sends telemetry by default.
SAM := $(RUN) SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION="$${AWS_DEFAULT_REGION:-us-east-1}" sam

REQUIREMENTS := layers/shared/requirements.txt layers/shared/constraints.txt \
	tests/requirements.txt tests/constraints.txt

.PHONY: help demo run test check pytest format build deploy admin soak bench cost mutants schemathesis lock clean
help:
	@echo "make demo          show one callback between two simulated parties as it happens"
	@echo "make run           run the whole service on this machine until Ctrl-C (PORT=, CARRIER_PORT=)"
	@echo "make test          every check and every test, about 7 minutes"
	@echo "make check         formatting, lint, types, and scans of the template and the workflow"
	@echo "make pytest        the tests alone, or some of them (ARGS=tests/unit)"
	@echo "make format        format the code, and fix what lint can fix"
	@echo "make build         build what is deployed: the functions and their layer"
	@echo "make deploy        build and deploy with your AWS credentials (STACK=dev, STACK=prod)"
	@echo "make admin         manage tenants, keys, numbers, policies and erasures (ARGS='--help')"
	@echo "make schemathesis  over 5,000 requests generated from the API's document, some minutes"
	@echo "make bench         instructions and delays, beside textbook functions; needs valgrind, some minutes"
	@echo "make cost          what a million callbacks cost on AWS, counted in a run"
	@echo "make mutants       mutation testing: which small faults no test notices, some minutes"
	@echo "make soak          many long random histories (N=20000 STEPS=100 SEED=), 40 minutes"
	@echo "make lock          pin the newest versions that requirements.txt allows"
	@echo "make clean         remove everything that was installed or built here"

demo: $(INSTALLED)
	@$(RUN) python -m tests.local.demo $(ARGS)

run: $(INSTALLED)
	@$(RUN) python -m tests.local $(if $(PORT),--port $(PORT)) \
		$(if $(CARRIER_PORT),--carrier-port $(CARRIER_PORT)) $(ARGS)

# The parts run one after another, even with -j. The requirements of all are checked first.
test:
	@$(python_needed)
	@$(PYTHON) tests/support/chromium.py
	@echo "make test takes about 7 minutes on two idle cores:"
	@echo "  1. install what it needs in $(VENV) and $(SCANNERS), the first time: two minutes"
	@echo "  2. make check, formatting, lint, types and scanners: two minutes"
	@echo "  3. make pytest, every test: the rest"
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory pytest

# loadfile keeps a file's tests in one process, so that they can share a stack or a build.
pytest: $(INSTALLED)
	$(RUN) python -m pytest -p tests.support.progress --numprocesses 2 --dist loadfile \
		--max-worker-restart 0 --durations 15 --durations-min 1 $(ARGS)

# make pytest includes a shorter run.
schemathesis: $(INSTALLED)
	$(RUN) python -m tests.api_document --max-examples 500 --at-least 5000 $(ARGS)

check: $(INSTALLED) $(SCANNERS)/installed
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) cfn-lint template.yaml
	$(SAM) validate --lint
	@# tests/scanners/__main__.py lists each exception and its reason.
	$(RUN) PYTHONPATH=layers/shared python -m tests.scanners $(SCANNERS)

format: $(INSTALLED)
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

build: $(INSTALLED)
	$(SAM) build

# The region is the one of your AWS profile or environment.
deploy: build
	$(RUN) SAM_CLI_TELEMETRY=0 sam deploy --config-env $(STACK) $(ARGS)

define pip_install
"$(1)/bin/python" tests/support/install.py "$(1)" $(2)
endef

# A command that prints neither "new" nor "old" is not a Python.
define python_needed
case "$$($(PYTHON) -c 'import sys; print("new" if sys.version_info >= (3, 11) else "old")' 2>/dev/null)" in \
	new) ;; \
	old) echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		"Name another: make PYTHON=python3.13" >&2; exit 1 ;; \
	*) echo "Python 3.11 or newer is needed; $(PYTHON) is none." \
		"Name one: make PYTHON=python3.13" >&2; exit 1 ;; \
esac
endef

# Recreated when a requirement changes, so that no package remains that is no longer required.
$(INSTALLED): $(REQUIREMENTS)
	@$(python_needed)
	@echo "Installing what tests/requirements.txt asks for into $(VENV), about a minute:"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; \
		exit 1; }
	@$(call pip_install,$(VENV),--constraint tests/constraints.txt --requirement tests/requirements.txt)
	@touch $@

$(SCANNERS)/installed: tests/scanners/requirements.txt tests/scanners/constraints.txt
	@$(python_needed)
	@echo "Installing the template's scanners into $(SCANNERS), about a minute:"
	@rm -rf $(SCANNERS)
	@$(PYTHON) -m venv $(SCANNERS)
	@$(call pip_install,$(SCANNERS),--constraint tests/scanners/constraints.txt --requirement tests/scanners/requirements.txt)
	@touch $@

admin: $(INSTALLED)
	@$(RUN) PYTHONPATH=layers/shared python -m callback.admin $(ARGS)

soak: $(INSTALLED)
	$(RUN) PYTHONPATH=layers/shared python -m tests.histories.soak --histories $(or $(N),20000) \
		--steps $(or $(STEPS),100) $(if $(SEED),--seed $(SEED))

bench: $(INSTALLED)
	$(RUN) PYTHONPATH=layers/shared python -m tests.bench $(ARGS)

cost: $(INSTALLED)
	@$(RUN) PYTHONPATH=layers/shared python -m tests.bench.cost $(ARGS)

# mutmut needs an older pytest than ours, so both are installed into a separate folder. mutmut finds
# the package by name only in its working directory, so the package is copied there.
MUTATED := lifecycle.transitions lifecycle.outcomes carrier.twilio.signature \
	$(addprefix carrier.twilio.client.x_,classify _seconds _never_connected)
mutants: $(INSTALLED)
	rm -rf build/mutants
	mkdir -p build/mutants/tests
	cp -r layers/shared/callback build/mutants
	cp -r tests/__init__.py tests/support tests/unit tests/local build/mutants/tests
	@# These tests check the whole repository, and none of the mutated modules.
	rm $(addsuffix .py,$(addprefix build/mutants/tests/unit/test_,readme canary layout quick_moto))
	printf '%s\n' '[mutmut]' 'source_paths=callback' 'also_copy=callback' \
		'only_mutate=' $(addprefix '    callback/,$(addsuffix .py',lifecycle/transitions lifecycle/outcomes carrier/twilio/signature carrier/twilio/client)) \
		'use_git_change_detection=false' 'pytest_add_cli_args_test_selection=tests/unit' \
		>build/mutants/setup.cfg
	$(call pip_install,$(VENV),--target build/mutants/tool mutmut==3.7.0 pytest==8.4.2)
	cd build/mutants && $(RUN) PYTHONPATH="$(CURDIR)/build/mutants/tool" python -m mutmut run --max-children 2 \
		$(addprefix 'callback.,$(addsuffix *',$(MUTATED)))
	@cd build/mutants && $(RUN) PYTHONPATH="$(CURDIR)/build/mutants/tool" python -m mutmut results \
		| grep -v 'not checked' || echo "every mutant was killed"

lock:
	@$(python_needed)
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	$(call pip_install,build/lock,--requirement layers/shared/requirements.txt)
	{ echo "# Every version that requirements.txt brings in. Written by \`make lock\`."; \
		build/lock/bin/pip freeze --exclude setuptools --exclude wheel; } >layers/shared/constraints.txt
	$(call pip_install,build/lock,--constraint layers/shared/constraints.txt --requirement tests/requirements.txt)
	{ echo "# Every version that tests/requirements.txt brings in. Written by \`make lock\`."; \
		build/lock/bin/pip freeze --exclude setuptools --exclude wheel; } >tests/constraints.txt
	$(PYTHON) -m venv --clear build/lock
	$(call pip_install,build/lock,--requirement tests/scanners/requirements.txt)
	{ echo "# Every version that requirements.txt brings in. Written by \`make lock\`."; \
		build/lock/bin/pip freeze --exclude setuptools --exclude wheel; } >tests/scanners/constraints.txt

clean:
	rm -rf $(VENV) .aws-sam build .mypy_cache .pytest_cache .ruff_cache
