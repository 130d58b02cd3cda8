# Everything a person runs. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/sh

export PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
WORKERS ?= 2

.PHONY: help
help: ## List what there is to run
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## Make .venv from the hashed locks (all other commands do it when it is needed)

$(INSTALLED): requirements-dev.txt requirements-nodeps.txt scripts/install.sh
	@sh scripts/install.sh
	@touch $@

.PHONY: up
up: $(INSTALLED) ## Start everything: Postgres, Temporal with its Web UI, migrations, worker, API
	@exec $(BIN)/python -m adapters.embedded

.PHONY: demo
demo: $(INSTALLED) ## Against a running `make up`: upload a PDF, ask, see the answers' citations
	@$(BIN)/python demo.py

.PHONY: test
test: lint ## Every guard and every test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: test-ui
test-ui: $(INSTALLED) ## In a real browser against the real Temporal Web UI; needs chromium (SCREENSHOTS=1 takes the runbook's pictures)
	SCREENSHOTS=$(SCREENSHOTS) $(BIN)/python -m pytest tests/ui

.PHONY: lint
lint: $(INSTALLED) ## Style, layers and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

.PHONY: bench
bench: $(INSTALLED) ## Measure against the bare pipeline, side by side; writes bench/results
	@$(BIN)/python -m bench

DATA ?= ../shared/data/retrieval

.PHONY: eval
eval: $(INSTALLED) ## Measure retrieval through the product on sets in BEIR's layout (DATA=folder of sets, MODEL=provider: what it adds)
	@$(BIN)/python -m evaluation "$(DATA)" $(if $(MODEL),--model $(MODEL))

RIVALS := .venv-rivals/.installed

$(RIVALS): requirements-rivals.txt scripts/install.sh
	@# Copied, for one of the libraries refuses data files that are hard links.
	@UV_LINK_MODE=copy sh scripts/install.sh .venv-rivals requirements-rivals.txt
	@touch $@

.PHONY: bench-rivals
bench-rivals: $(INSTALLED) $(RIVALS) ## Measure against LangChain, LlamaIndex, Haystack, BackgroundTasks and Celery (QUICK=1: once)
	@$(BIN)/python -m bench rivals $(if $(QUICK),--quick)

.PHONY: lock
lock: ## Resolve pyproject.toml anew into the hashed locks (needs uv)
	@sh scripts/lock.sh

.PHONY: clean-state
clean-state: ## Delete all data of `make up`, after asking
	@printf 'Delete .chatsphere with every account, document and conversation in it? Type yes: '; \
	read -r answer && [ "$$answer" = yes ] && rm -rf .chatsphere && echo Deleted. || echo Kept.
