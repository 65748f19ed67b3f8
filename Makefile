# Everything a newcomer types. Needs Python >= 3.11, make and git; `uv` is brought along where it is missing.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

ifndef UV
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .uv/bin/uv)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types docs pictures lock clean

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1  \t/p' Makefile

setup: $(READY)  ## Create .venv with the locked versions (done by the targets below where needed)

demo: setup  ## Teach, plan, distil and score on embedded data
	$(BIN)/snowmelt demo

# Tests start many processes, and where Python may keep no compiled files each of them compiles torch's sources anew.
test: export PYTHONDONTWRITEBYTECODE :=
test: setup  ## Run all tests and measure coverage; a single room: .venv/bin/pytest tests/losses
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist worksteal --cov --cov-report term

lint: setup  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## Mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup  ## Check types
	$(BIN)/mypy

docs: setup  ## Build the documentation into site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pictures: setup  ## Train the pictures' own run (half an hour on two cores) and draw the documents' pictures from it
	$(BIN)/python scripts/draw_pictures.py

lock: setup  ## Resolve all dependencies anew and write the pins
	UV="$(UV)" $(BIN)/python scripts/lock.py

clean:  ## Remove the environment and what tools left behind; runs under experiments/ stay
	rm -rf .venv .uv uv.lock build dist site .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The requirements come with hashes; the project itself is installed without looking at its dependencies again.
# `uv lock` writes the ignored uv.lock now, while there is a network, so that `uv run` needs none later.
$(READY): requirements.lock pyproject.toml | $(UV)
	test -x $(BIN)/python || $(UV) venv .venv
	$(UV) pip sync --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --python $(BIN)/python --no-deps --editable .
	$(UV) lock --quiet
	@touch $@
	@case "$(UV)" in .uv/*) echo "uv lies in .uv/bin: write .uv/bin/uv run ... where the guide says uv run ...";; esac

.uv/bin/uv: scripts/uv.txt
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --require-hashes --requirement scripts/uv.txt
	@touch $@
