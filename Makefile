# Every target sets up .venv first where it needs it; `make help` lists them.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

# Taken literally ($ and quotes too) and handed to the commands through the environment, so that
# the shell never parses what the user wrote.
GIVEN := ALGO STEPS MINUTES SEED RESUME OUT NAME PRESET TASK SCALE SEEDS FIRST_SEED POLICY ARMS MODEL STEM HEAD_DROPOUT RECIPE ENGINE ENTRIES PYTHON HOLD
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)

# $(call option,--seed,SEED): the option with its value, or nothing where none was given.
option = $${$(2):+$(1) "$$$(2)"}

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup train-agent eval meta-test test test-slow lint format type check bench lock clean

help: ## List the targets (this page)
	@awk 'BEGIN {FS = ":[^#]*## "} /^[a-z][a-z-]*:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## Create .venv with the pinned packages (the other targets do it by themselves)

# A shell fragment: sets $$python to Python 3.11 or newer, or says that there is none.
define find_python
python=''; set -- python3.11 python3; if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; fi; \
for candidate do \
  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
    python="$$candidate"; break; \
  fi; \
done; \
if [ -z "$$python" ]; then \
  echo 'lr-env needs Python 3.11 or newer: install it, or name it with PYTHON=/path/to/python3.' >&2; \
  exit 2; \
fi
endef

$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@$(find_python); \
	if ! $(PY) -m pip --version >/dev/null 2>&1; then "$$python" -m venv --clear $(VENV); fi
	@echo 'Installing lr-env and its pinned packages into $(VENV) (a minute or two) ...'
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

train-agent: $(STAMP) ## Meta-train an agent and export its frozen policy [ALGO= STEPS= MINUTES= SEED= PRESET= RESUME= OUT= NAME=]
	@$(PY) -m agents.train $(call option,--algo,ALGO) $(call option,--steps,STEPS) \
	  $(call option,--minutes,MINUTES) $(call option,--seed,SEED) \
	  $(call option,--resume,RESUME) $(call option,--out,OUT) $(call option,--name,NAME) \
	  $(call option,--preset,PRESET)

eval: $(STAMP) ## Compare the frozen agent with baselines [TASK= SCALE= SEEDS= POLICY= ARMS= MODEL= STEM= HEAD_DROPOUT= RECIPE= ENGINE=]
	@$(PY) -m experiments.evaluate $(call option,--task,TASK) $(call option,--scale,SCALE) \
	  $(call option,--seeds,SEEDS) $(call option,--policy,POLICY) $(call option,--arms,ARMS) \
	  $(call option,--model,MODEL) $(call option,--stem,STEM) \
	  $(call option,--head-dropout,HEAD_DROPOUT) $(call option,--recipe,RECIPE) \
	  $(call option,--engine,ENGINE)

meta-test: $(STAMP) ## Evaluate policies outside their meta-training family, with controls [POLICY= ENTRIES= ARMS= SEEDS= FIRST_SEED= OUT= ENGINE=]
	@$(PY) -m experiments.meta_test $(call option,--policy,POLICY) \
	  $(call option,--entries,ENTRIES) $(call option,--arms,ARMS) $(call option,--seeds,SEEDS) \
	  $(call option,--first-seed,FIRST_SEED) $(call option,--out,OUT) $(call option,--engine,ENGINE)

test: $(STAMP) ## Run the tests (offline, on the CPU, minutes)
	@$(PY) -m pytest -n auto --dist worksteal

test-slow: $(STAMP) ## Run the slow tests that `make test` leaves out
	@$(PY) -m pytest -m slow

lint: $(STAMP) ## Check style and formatting (ruff)
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check

format: $(STAMP) ## Format the code and apply ruff's safe fixes
	@$(PY) -m ruff check --fix-only --quiet
	@$(PY) -m ruff format

type: $(STAMP) ## Check the types (mypy --strict)
	@$(PY) -m mypy

check: format lint type test ## Before a commit: format, lint, types and tests

bench: $(STAMP) ## Measure the speed of the environment and of meta-training, and write docs/benchmarks.md
	@$(PY) -m experiments.benchmarks

lock: ## Rewrite constraints.txt from a fresh resolve of pyproject.toml [HOLD=torch==2.13.0]
	@$(find_python); \
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; set -e; \
	"$$python" -m venv "$$folder/venv"; \
	"$$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]' \
	  $${HOLD:+"$$HOLD"}; \
	{ echo '# Exact versions that the project is tested with; rewritten by `make lock`.'; \
	  echo '# Builds are the affair of the machine: no suffixes such as +cpu, and no CUDA libraries (torch pins its own).'; \
	  "$$folder/venv/bin/python" -m pip freeze --all --exclude-editable --exclude pip; } >"$$folder/all.txt"; \
	sed -e '/^[^#]/s/+[A-Za-z0-9.]*$$//' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton==/d' \
	  "$$folder/all.txt" >constraints.txt.new; \
	mv constraints.txt.new constraints.txt; \
	echo "constraints.txt now pins $$(grep -c == constraints.txt) packages."

clean: ## Remove caches and build output (not .venv, not runs)
	@rm -rf build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache
	@find . \( -path ./$(VENV) -o -path ./runs -o -path ./.git \) -prune \
	  -o -type d -name __pycache__ -prune -exec rm -rf {} +
