# make run: from a clone to reports/index.html. make test: the tests. Both do all the set-up they need.
#
# Torch is installed first, because its build depends on the machine. TORCH takes any arguments of pip; later calls
# remember it. The default is the build that the configured package index offers: it runs on any CPU, and on Linux
# usually brings CUDA along. For a small CPU build or for ROCm give the index that torch's "Get started" page names:
#     make setup TORCH="torch==2.13.0 --index-url URL"

PYTHON ?= python3
TORCH ?= $(shell cat .venv/.torch 2>/dev/null || echo torch==2.13.0)
JOBS ?= 2

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false
export HF_HUB_DISABLE_TELEMETRY := 1
export GRADIO_ANALYTICS_ENABLED := False
export RAY_USAGE_STATS_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help setup run test lint services services-stop drill clean FORCE

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: .venv/.stamp ## install everything into .venv (TORCH=... chooses the build of torch)

run: setup ## run what has changed of the pipeline, then say where the report is
	dvc repro
	@echo "report: $(CURDIR)/reports/index.html"

test: setup ## run all tests (JOBS=2 at a time, one thread each)
	OMP_NUM_THREADS=1 pytest -n $(JOBS) --dist loadfile

lint: setup ## check style, types, the direction of imports and spelling
	ruff check
	ruff format --check
	mypy
	lint-imports
	codespell

services: setup ## start PostgreSQL, an S3 store, MLflow, Prefect and its runner as processes of this machine
	hummingbird services start

services-stop: setup ## stop them; what they keep stays
	hummingbird services stop

drill: setup ## kill each part in turn under a run of a small project, run again, and compare
	python -m evaluation.drill --out evaluation/results/drill.json

clean: ## remove what the pipeline made; the environment, the DVC cache, the services and the MLflow record stay
	[ ! -d .work ] || find .work -mindepth 1 -maxdepth 1 ! -name services ! -name outbox ! -name tracking.json -exec rm -rf {} +
	rm -rf artifacts data reports/index.html reports/vbench reports/latency reports/prune_study reports/sheets reports/curves reports/runs

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/.torch: .venv/bin/python FORCE
	@echo '$(TORCH)' | cmp -s - $@ || { pip install $(TORCH) && echo '$(TORCH)' > $@; }

.venv/.stamp: .venv/.torch pyproject.toml constraints.txt
	pip install -c constraints.txt -e '.[dev,services]'
	@touch $@
