# Each target makes what it needs: the virtual environment first. Plain `dvc repro` works once .venv/bin is on PATH.
VENV := .venv
PYTHON ?= python3
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# No call home: the pipeline works offline, and the numbers should not depend on the network.
export DVC_NO_ANALYTICS := 1

.PHONY: repro test setup lint pool methods export bench torture tiny clean

repro: setup  ## run the experiment: rebuild what changed
	python -m stages.commands.mend
	dvc repro

test: setup lint  ## the default tests, a few minutes
	pytest -q

setup: $(VENV)/.installed  ## the virtual environment with the pinned requirements

$(VENV)/.installed: requirements.txt requirements-test.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed, found $$($(PYTHON) --version); try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-test.txt
	@touch $@

lint: setup
	ruff check .
	ruff format --check .

pool: setup  ## pool experiments of several training seeds; EXPERIMENTS="seed-0 seed-1 seed-2"
	python -m stages.commands.pool $(EXPERIMENTS)

methods: setup  ## chart what training methods cost and gained; EXPERIMENTS="attn2 attn2_kv lora full"
	python -m stages.commands.methods $(EXPERIMENTS)

export: setup  ## write models/exported: a diffusers pipeline of the fine-tuned model; for lora a kohya file, too
	python -m stages.commands.export

bench: setup  ## measure speed and memory against the README's bars
	python -m tests.bench

torture: setup  ## kill the pipeline at random moments and compare the bytes (15 minutes on a fast core, hours on a slow one); KILLS=104 SEED=0
	python -m tests.torture --kills $(or $(KILLS),104) --seed $(or $(SEED),0)

tiny: setup  ## rebuild the tiny base and its scorer from nothing (80 minutes on two cores); PHOTOGRAPHS=cifar10.parquet
	python -m stages.tiny $(if $(PHOTOGRAPHS),--photographs $(PHOTOGRAPHS))

clean:  ## remove scratch files; results and the cache stay
	rm -rf scratch
