# Everything runs in a virtual environment of its own; nothing is installed outside this folder.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
SCALE ?= 1
WORKERS ?= 2
COUNT ?= 1000000
# 0: without the models' own libraries, some gigabytes where pip takes torch for CUDA; their tests
# are then skipped, loudly. The index to take torch from, if not pip's own, is TORCH_INDEX.
MODELS ?= 1
TORCH_INDEX ?=
STAMP := $(VENV)/.installed
MODELS_STAMP := $(VENV)/.installed-models
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help

help: ## show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make the virtual environment

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[embedded,draft,otel,dev]'
	touch $@

models: $(MODELS_STAMP) ## install what the production models run on: torch, diffusers, transformers

$(MODELS_STAMP): $(STAMP)
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable '.[models,riva]'
	touch $@

demo: setup ## make the example campaign; the package is left in out/kestrel
	$(BIN)/adgenx run examples/kestrel.yaml --scale $(SCALE) --out $(OUT)/kestrel

demo-tiny: models ## a production campaign on random weights of a few kilobytes, into out/tiny
	$(BIN)/python tests/demo_tiny.py --out $(OUT)/tiny

test: setup $(if $(filter-out 0,$(MODELS)),models) check ## run the checks and the tests
	$(BIN)/python -m pytest tests --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

check: setup ## lint, types, import rules
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

node: ## install what the JavaScript checks of make test need (they are skipped without)
	npm ci --silent --no-audit --no-fund --prefix tests/node

promtest: ## test the alert rules; promtool is fetched from Debian if it is missing
	deploy/prometheus/promtool.sh check rules deploy/prometheus/rules/*.yml
	deploy/prometheus/promtool.sh test rules deploy/prometheus/tests/*.yml

fmt: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

films: setup ## every example campaign at full size, into out/films
	for brief in kestrel nachtzug noor; do \
	  $(BIN)/adgenx run examples/$$brief.yaml --out $(OUT)/films/$$brief || exit 1; done

chaos: setup ## an hour of kills, pauses, bad lines and full disks; the seed is printed
	ADGENX_CHAOS_SECONDS=$${ADGENX_CHAOS_SECONDS:-3600} $(BIN)/python -m pytest tests/chaos -m chaos

crash: setup ## die at every side effect of every process, with several loads
	for load in 1 2 3 4 5; do ADGENX_CHAOS_SEED=$$load \
	  $(BIN)/python -m pytest tests/chaos/test_crash_points.py || exit 1; done

powercut: setup ## pull the plug ten times; needs root and loop devices, else says so
	ADGENX_POWER_CUTS=$${ADGENX_POWER_CUTS:-10} $(BIN)/python -m pytest tests/chaos/test_power_cut.py

fuzz: setup ## a million bad messages to every contract
	$(BIN)/python tests/fuzz --count $(COUNT)

soak: setup ## half an hour of small jobs: nothing grows, nothing stalls
	ADGENX_SOAK_SECONDS=1800 $(BIN)/python -m pytest tests/soak --capture=no --quiet

longfilm: setup ## five minutes of LongCat-Video on tiny weights, killed ten times
	ADGENX_LONG=1 $(BIN)/python -m pytest tests/models/test_longcat_long.py

queue10k: setup ## ten thousand jobs wait for one slow service
	QUEUE_JOBS=10000 $(BIN)/python -m pytest tests/integration/test_long_queue.py

bench: setup ## measure against the floors; see docs/benchmarks.md
	$(BIN)/python -m bench

peers: ## measure beside other job queues, in a virtual environment of its own
	$(MAKE) setup VENV=.venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[peers]'
	.venv-peers/bin/python -m bench peers

# Families of services whose wheels come along (BUNDLE_WITH="models riva"), and the machine that it is
# for, if that is not this one: BUNDLE_PLATFORM=linux-aarch64 BUNDLE_PYTHON=3.12 is a Jetson Thor.
bundle: setup ## everything that an installation without a network needs, into out/bundle
	$(BIN)/python -m appliance.bundle $(OUT)/bundle $(addprefix --with ,$(BUNDLE_WITH)) \
	  $(if $(BUNDLE_PLATFORM),--platform $(BUNDLE_PLATFORM)) $(if $(BUNDLE_PYTHON),--python $(BUNDLE_PYTHON))

compose-services: setup ## write deploy/compose/services.yaml anew from the manifests
	$(BIN)/python -m appliance.containers

compose-test: setup ## the appliance in containers: kills, cuts, confinement; needs root and Docker
	ADGENX_COMPOSE_TEST=1 $(BIN)/python -m pytest tests/appliance/test_compose.py \
	  tests/appliance/test_compose_servers.py tests/appliance/test_compose_cluster.py

appliance-test: setup ## a booted systemd with the appliance on it, used and hurt; needs root
	ADGENX_APPLIANCE=1 $(BIN)/python -m pytest tests/appliance/test_appliance.py \
	  tests/appliance/test_broken_units.py

# In namespaces of its own, which end with it and of which nothing outside is touched.
cluster-test: setup ## three hosts, one of them cut off and returned; needs root
	@if [ "$$(id -u)" != 0 ]; then echo "NOT CHECKED: three hosts in namespaces; only root"; else \
	ADGENX_CLUSTER=1 unshare --net --mount --pid --fork --kill-child --mount-proc \
	  $(BIN)/python -m pytest tests/appliance/test_cluster.py --capture=no; fi

up: setup ## run the appliance in the foreground
	$(BIN)/adgenx up

down: setup ## end the appliance
	$(BIN)/adgenx down

clean: ## remove what was made here, the virtual environment too
	rm -rf $(VENV) $(OUT) .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup models demo demo-tiny test check node promtest fmt films chaos crash powercut fuzz soak longfilm queue10k bench peers bundle compose-services compose-test appliance-test cluster-test up down clean
