# Each target makes what it needs: the virtual environment first. Plain `dvc repro` works once .venv/bin is on PATH.
VENV := .venv
PYTHON ?= python3
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# No call home: the pipeline works offline, and the numbers should not depend on the network.
export DVC_NO_ANALYTICS := 1
# Two processes of a thread each: a file's tests share what the first of them built. The long ones come first.
PYTEST := OMP_NUM_THREADS=1 pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# Of a column's name, from its start: paths, bookkeeping, the ends of intervals.
DROP := .*/|par|C|St|Exec|.*low|.*high

.PHONY: repro doctor test test-all setup lint types experiments duel guidance pool plan study votes export bench gpu torture tiny clean

repro: setup  ## run the experiment: rebuild what changed
	python -m stages.commands.mend
	dvc repro

doctor:  ## whether the run of params.yaml can start on this machine, and what it needs; before `make setup`, too; BASE=sd15
	@$(or $(wildcard $(VENV)/bin/python),$(PYTHON)) -m stages.commands.doctor $(BASE)

test: lint  ## the default tests, a few minutes
	$(PYTEST)

test-all: lint types  ## those, and what takes long for what it tells: several processes, S3, hostile pages
	$(PYTEST) -m "not slow and not gpu and not network"

setup: $(VENV)/.installed  ## the virtual environment with the pinned requirements

$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed, found $$($(PYTHON) --version); try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# Apart, so that whoever only runs the experiment has neither to install nor to import them.
$(VENV)/.installed-tests: $(VENV)/.installed requirements-test.txt requirements-8bit.txt requirements-votes.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	@touch $@

lint: $(VENV)/.installed-tests
	ruff check .
	ruff format --check .

types: $(VENV)/.installed-tests
	mypy stages

experiments: setup  ## the table of all experiments of HEAD: what was changed, what it gained, what it cost
	dvc exp show --only-changed --md --drop '$(DROP)'

pool: setup  ## pool experiments of several training seeds; EXPERIMENTS="seed-0 seed-1 seed-2"
	python -m stages.commands.pool $(EXPERIMENTS)

duel: setup  ## which of several is better, and at what cost; EXPERIMENTS="attn2 lora full"; PICK=1 to choose one
	python -m stages.commands.duel $(if $(PICK),--pick) $(EXPERIMENTS)

guidance: setup  ## what CLIP guidance gains by its guide and by the judge; EXPERIMENTS="scale-0 scale-10 scale-30"
	python -m stages.commands.guidance $(EXPERIMENTS)

plan: setup  ## how many prompts, pictures and seeds would settle the question, and how long they would take
	python -m stages.commands.plan

study: setup  ## a page on which people compare pictures blindly: baseline and fine-tuned, or EXPERIMENTS="lora attn2"
	python -m stages.commands.study $(EXPERIMENTS)

votes: setup  ## judge the votes on the study in data/study, of any experiments
	python -m stages.commands.votes

export: setup  ## write models/exported: a diffusers pipeline of the fine-tuned model, its card (LICENSE=apache-2.0); for lora a kohya file, too
	python -m stages.commands.export $(LICENSE)

bench: $(VENV)/.installed-tests  ## measure speed and memory against the README's bars
	python -m tests.bench

gpu: $(VENV)/.installed-tests  ## measure on a GPU what docs/benchmarks.md lacks, in nine minutes, offline; on a CPU a micro version of it
	python -m tests.bench.gpu

torture: $(VENV)/.installed-tests  ## kill the pipeline at random moments and compare the bytes (15 minutes on a fast core, hours on a slow one); KILLS=104 SEED=0
	python -m tests.torture --kills $(or $(KILLS),104) --seed $(or $(SEED),0)

tiny: setup  ## rebuild the tiny base and its scorer from nothing (80 minutes on two cores); PHOTOGRAPHS=cifar10.parquet
	python -m stages.tiny $(if $(PHOTOGRAPHS),--photographs $(PHOTOGRAPHS))

clean:  ## remove scratch files; results and the cache stay
	rm -rf scratch
