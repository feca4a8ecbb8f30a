# `make repro` and `make test` need python3 or uv, nothing else: they set up .venv by themselves.
SHELL := /bin/sh
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
KILLS ?= 200
PROFILE ?= mini
# folder, name and command of a run to publish
FROM ?= $(NAME)
NAME ?= evidence
COMMAND ?= make $(NAME)
# without this project's environment
OUTER_PATH := $(PATH)
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.uv/bin:$(PATH)
# another environment may be active: uv must not install into that
export VIRTUAL_ENV := $(CURDIR)/.venv

# uv itself, if absent, in .uv
define have_uv
@uv --version >/dev/null 2>&1 \
	|| { python3 -m venv .uv && .uv/bin/python -m pip install --quiet uv; } \
	|| python3 -m pip install --quiet --target .uv uv \
	|| { echo 'setup: install uv, or python3 with pip' >&2; exit 1; }
endef

# a folder of its own for a run of the profile of that name; params.yaml of this folder stays as it is
run_folder = mkdir -p $(1) && ln -sfn ../afigan ../workflow ../conf ../profiles ../Snakefile $(1)/ \
	&& python workflow/scripts/compose.py --profile $(1) --output $(1)/params.yaml

# tests in as many processes as there are cores; each test has one thread
PARALLEL := -n auto --maxprocesses 8 --dist loadscope
# too slow for make test-lowest, or about something else: Slurm's plugin (an extra that needs newer packages than the
# others), and a torch that plays a GPU, which 2.8 cannot
NOT_LOWEST := tests/slurm tests/benchmarks tests/params/test_profiles.py tests/data/prepare/test_input_fuzz.py \
	$(addprefix tests/training/test_,faults.py stages.py launch.py experiments.py) \
	$(addprefix tests/workflow/test_,publish.py dependencies.py scripts.py)

.PHONY: help repro dvc-repro snakemake report browser test test-faults test-slurm test-lowest test-detectron2 setup
.PHONY: adopt-dvc adopt-snakemake zoo upsamplers evidence
.PHONY: docs evidence-photos publish status plan params lint format lock hooks dvc-yaml benchmarks wheels clean
help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

repro: setup  ## everything that params.yaml asks for, on all cores: results/index.html shows it
	python workflow/scripts/repro.py --cores $(CORES)

dvc-repro: setup  ## the same with only DVC, one stage at a time
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo 'dvc-repro: DVC needs a Git repository: run `git init`' >&2; exit 2; }
	dvc repro

snakemake: setup  ## the same with only Snakemake, on all cores, or CORES=2
	snakemake --cores $(CORES)

adopt-dvc: setup  ## Snakemake's outputs become DVC's too; stale ones are refused
	python workflow/scripts/adopt.py --to dvc

adopt-snakemake: setup  ## outputs that DVC has created or fetched become Snakemake's too; stale ones are refused
	python workflow/scripts/adopt.py --to snakemake

test: setup  ## the tests; ARGS="-k tables" for some of them
	python -m pytest $(PARALLEL) $(ARGS)

test-slurm: setup  ## smoke through a real Slurm on this machine, jobs killed on the way; installs slurm-wlm, munge
	python tests/slurm/run.py
	python tests/slurm/nodes.py

test-lowest: .venv-lowest/ready  ## the fast tests with the lowest versions that pyproject.toml allows, in .venv-lowest
	PATH="$(CURDIR)/.venv-lowest/bin:$(OUTER_PATH)" VIRTUAL_ENV="$(CURDIR)/.venv-lowest" \
		python -m pytest $(PARALLEL) -m "not pipeline" $(addprefix --ignore=,$(NOT_LOWEST)) $(ARGS)

.venv-lowest/ready: pyproject.toml
	$(have_uv)
	rm -rf .venv-lowest
	uv venv --quiet --python 3.11 .venv-lowest
	uv pip compile pyproject.toml --quiet --resolution lowest-direct --python .venv-lowest/bin/python \
		--extra detectron2 --extra pipeline --extra export --extra docs --extra dev \
		--no-annotate --no-header -o .venv-lowest/requirements.txt
	uv pip install --quiet --python .venv-lowest/bin/python -r .venv-lowest/requirements.txt
	@touch $@

test-detectron2:  ## the tests in an environment of yours with a compiled detectron2: ENV=folder; ARGS="-k tables"
	@test -x "$(ENV)/bin/python" \
		|| { echo 'test-detectron2: name an environment with a detectron2, as in ENV=/path/to/env' >&2; exit 2; }
	@"$(ENV)/bin/python" -Bc 'import importlib.util as find, sys; \
		find.find_spec("detectron2") or sys.exit("test-detectron2: $(ENV) has no detectron2: name another environment"); \
		import detectron2; \
		compiled = "compiled" if find.find_spec("detectron2._C") else "without compiled operators"; \
		print("detectron2", detectron2.__version__ + ",", compiled + ":", *detectron2.__path__)'
	PATH="$(abspath $(ENV))/bin:$(OUTER_PATH)" VIRTUAL_ENV="$(abspath $(ENV))" PYTHONDONTWRITEBYTECODE=1 \
		python -m pytest $(ARGS)

setup: .venv/ready  ## the environment of requirements.lock in .venv; uv itself, if absent, in .uv
.venv/ready: requirements.lock pyproject.toml
	$(have_uv)
	@test -x .venv/bin/python || uv venv --quiet .venv
	uv pip sync --require-hashes --compile-bytecode requirements.lock
	@touch $@

test-faults: setup  ## every stage before the summaries killed at random moments, 200 times in all; KILLS=200
	AFIGAN_KILLS=$(KILLS) python -m pytest -s tests/training/test_faults.py

zoo: setup  ## every row of Tables 1-10 at toy size, in zoo/, under Snakemake: zoo/results/README.md
	@$(call run_folder,zoo)
	cd zoo && snakemake --cores $(CORES)

upsamplers: setup  ## Table 10 on the embedded set: five seeds, in upsamplers/; about an hour and a half, estimated
	@$(call run_folder,upsamplers)
	cd upsamplers && python workflow/scripts/repro.py --cores $(CORES)

evidence: setup  ## test the paper's claims on the embedded set: five seeds, in evidence/; about three and a half hours, estimated
	@$(call run_folder,evidence)
	cd evidence && python workflow/scripts/repro.py --cores $(CORES)

evidence-photos: setup  ## the same on photographs, in evidence_photos/: DATA=a folder with train/, val/, annotations/
	@test -n "$(DATA)" || { echo 'evidence-photos: name the photographs, as in DATA=/data/mine' >&2; exit 2; }
	@$(call run_folder,evidence_photos)
	@mkdir -p evidence_photos/datasets
	@ln -sfn $(abspath $(DATA)) evidence_photos/datasets/photos
	cd evidence_photos && python workflow/scripts/repro.py --cores $(CORES)

publish: setup  ## copy a finished run's results to docs/results/NAME: FROM=folder NAME=evidence COMMAND="make evidence"
	python workflow/scripts/publish.py --from $(FROM) --name $(NAME) --command "$(COMMAND)" $(ARGS)

report:  ## open the page of results, or say where it is
	@python workflow/scripts/report.py $(ARGS)

browser:  ## a Chromium for the tests of that page; needs apt-get and root, and goes on without
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get -qq update \
		&& DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	} || echo 'browser: no Chromium here, and it cannot be installed: the tests that need it are skipped' >&2

# without setup, which must not change the environment of a run
status:  ## progress and errors of each experiment; ARGS="--watch 10"
	@python workflow/scripts/status.py $(ARGS)

plan:  ## the iterations and the hours that are left, from the journals of past runs
	@python workflow/scripts/plan.py $(ARGS)

params: setup  ## compose params.yaml from conf/: PROFILE=mini
	python workflow/scripts/compose.py --profile $(PROFILE)

benchmarks: setup  ## time and memory at COCO's size: docs/benchmarks.md; PHOTOS=folder adds the stage pairs on one core
	test -d runs/benchmarks/coco || python benchmarks/coco_sized.py runs/benchmarks/coco --scale 5
	python benchmarks/prepare.py runs/benchmarks/coco --out runs/benchmarks/prepared
	python benchmarks/pairs_killed.py runs/benchmarks/prepared --out runs/benchmarks/pairs
	python benchmarks/rates.py runs/benchmarks/pairs
	python benchmarks/loader.py runs/benchmarks/prepared/data/prepared/train.json
	python benchmarks/engines.py runs/benchmarks/coco
	python benchmarks/bootstrap.py
	python benchmarks/evaluation.py
	$(if $(PHOTOS),python benchmarks/pairs.py $(PHOTOS))

wheels: setup  ## what benchmarks/gpu.py needs on a GPU machine without network; ARGS="--python 3.12"
	python benchmarks/wheels.py $(ARGS)

docs: setup  ## these documents as a site, with the API: site/index.html
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict --quiet

lint: setup  ## the checks of CI besides the tests
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/rules
	mypy

format: setup  ## fix style errors that can be fixed automatically
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow/rules

lock: setup  ## resolve pyproject.toml again into requirements.lock
	uv pip compile pyproject.toml --quiet --all-extras --universal --generate-hashes --no-annotate --no-header -o requirements.lock

hooks:  ## let git run the checks of make lint before every commit
	git config core.hooksPath .githooks

dvc-yaml: setup  ## write the modules that the stages import into dvc.yaml
	python workflow/dependencies.py

clean:  ## remove the outputs of make repro, its checkpoints and logs, zoo/ and site/; DVC's cache keeps what DVC knows
	rm -rf data/prepared data/pairs data/pseudo models results runs logs zoo site
