# Targets: demo, test, test-full, test-bare, test-arm, formal, fuzz, audit, site, wheels, lint, lock,
# bench, bench-host, networks, pnr, clean. All is installed into .venv, in the versions and with the
# hashes of locks/.
#
#   make demo IMAGE=my.png BOARD=kv260 DEMO_MODEL=model.onnx
#   make bench BENCH_OPTIONS=--rtl

PYTHON     ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell command -v $(p))))
VENV       ?= .venv
BIN        := $(VENV)/bin
INSTALL    := $(BIN)/python -m pip install -q --disable-pip-version-check
# As many processes as there are cores. Each begins with a part of the list that is in one piece, so
# that few fixtures of a session are made twice, and takes over from others when it is done.
PYTEST     := $(BIN)/python -m pytest -q -n auto --dist worksteal
DEMO       ?= build/demo
BOARD      ?= zcu104
IMAGE      ?= $(DEMO)/phantom.png
# The demo takes the trained network of this repository; without one it exports random weights.
DEMO_MODEL ?= $(firstword $(wildcard models/pretrained/*mseg*.onnx) $(DEMO)/hardnet-mseg.onnx)
# Extra options of the demo's build, for example --clock-mhz 250
BUILD_OPTIONS ?=

BENCH      ?= build/bench
# --rtl simulates the whole networks as well; --only TEXT runs some works
BENCH_OPTIONS ?=
NETWORKS_OPTIONS ?=
UPGRADE    ?=
PROOFS     ?=
FUZZ       ?=
REQUESTS   ?= 10000
BARE       ?= build/bare
ARM        ?= build/arm
PYTHON312  ?= $(shell command -v python3.12)

.PHONY: demo test test-full test-bare test-arm formal fuzz audit site wheels bench bench-host networks pnr lint lock
.PHONY: clean needs-demo needs-test
.DELETE_ON_ERROR:

# What Debian must have, said in one line before anything starts; of the environment's own Python
# once there is one.
needs-demo needs-test: needs-%:
	@test -n "$(PYTHON)" || { echo "missing: Python 3.11 or 3.12 (PYTHON=path); on Debian and" \
	  "Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	  || { echo "Python 3.11 or 3.12 is needed, $(PYTHON) is another (PYTHON=path)" >&2; exit 1; }
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) tools/prerequisites.py $*

$(BIN)/python: | needs-demo
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The newer pip that all else is installed with, and what builds this package.
$(VENV)/.build: locks/build.txt | $(BIN)/python
	$(INSTALL) --require-hashes -r $<
	@touch $@

$(VENV)/.base: locks/base.txt pyproject.toml $(VENV)/.build
	$(INSTALL) --require-hashes -r $<
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: locks/test.txt pyproject.toml $(VENV)/.build | needs-test
	$(INSTALL) --require-hashes -r $<
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.base

# The last call finds everything in place but torch, which it installs by its pin and without a
# hash, and in the build that pip's configuration offers: the CPU build's hash is not that of the
# build for CUDA on PyPI, which no lock should impose.
$(VENV)/.models: locks/models.txt pyproject.toml $(VENV)/.build
	$(INSTALL) --require-hashes -r $<
	$(INSTALL) --no-build-isolation -e '.[models]'
	@touch $@ $(VENV)/.base

$(DEMO)/hardnet-mseg.onnx: $(VENV)/.models
	@echo "no trained network in models/pretrained: exporting HarDNet-MSEG with random weights"
	$(BIN)/fpga-gen models export hardnet-mseg -o $@

$(DEMO)/phantom.png: fpga_gen/phantom.py | $(VENV)/.base
	$(BIN)/python -m fpga_gen.phantom $@ --seed 100

$(DEMO)/calibration: fpga_gen/phantom.py | $(VENV)/.base
	rm -rf $@
	$(BIN)/python -m fpga_gen.phantom $@ --count 8

# HarDNet-MSEG at 352x352: build, simulate one picture in the generated RTL, compare bit for bit.
demo: needs-demo $(VENV)/.base $(DEMO_MODEL) $(IMAGE) $(DEMO)/calibration
	$(BIN)/fpga-gen build $(DEMO_MODEL) --board $(BOARD) -o $(DEMO)/$(BOARD) \
	  --calibration $(DEMO)/calibration $(BUILD_OPTIONS)
	$(BIN)/fpga-gen simulate $(DEMO)/$(BOARD) --image $(IMAGE) --trace-tensors \
	  --overlay $(DEMO)/overlay.png
	@echo "report: $(DEMO)/$(BOARD)/report.html   mask: $(DEMO)/overlay.png"

# What a 352x352 frame costs the processor before and after the engine, on one core.
bench-host: $(VENV)/.base $(DEMO)/$(BOARD)/manifest.json
	$(BIN)/python -m fpga_gen_host.benchmark $(DEMO)/$(BOARD)

$(DEMO)/$(BOARD)/manifest.json: | $(DEMO_MODEL) $(VENV)/.base
	$(BIN)/fpga-gen build $(DEMO_MODEL) --board $(BOARD) -o $(@D) $(BUILD_OPTIONS)

lint: needs-test $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error --pythonpath $(BIN)/python

test: lint
	$(PYTEST) -m "not slow"

# The documentation, into build/site; `make test` builds it too.
site: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict -q

# Into dist/: fpga-gen with the reference networks and the runtime, and the driver for boards.
wheels: $(VENV)/.build
	$(BIN)/python -m hatchling build -t wheel -d dist
	cd host && $(abspath $(BIN))/python -m hatchling build -t wheel -d ../dist

# Every proof of the hardware (docs/verification.md), some by name: make formal PROOFS="write_port".
formal: $(VENV)/.test
	$(BIN)/python -m formal $(PROOFS)

# Long campaigns of what the fast tests try for seconds: make fuzz FUZZ="models --count 100000".
# Failures are kept in build/fuzz; requests to the virtual board are counted by FPGA_GEN_REQUESTS.
fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz $(FUZZ)
	FPGA_GEN_REQUESTS=$(REQUESTS) $(BIN)/python -m pytest -q -n 0 tests/board/test_hostile.py

# Known vulnerabilities of what the locks install; one that could not be looked up is a failure too.
audit: $(VENV)/.build
	$(INSTALL) --group audit
	for lock in locks/*.txt; do echo "$$lock"; $(BIN)/pip-audit --strict --progress-spinner off \
	  --disable-pip --require-hashes -r $$lock || exit 1; done

# And the fast ones with Python 3.12 in an environment of its own, where there is one.
test-full: lint
	$(PYTEST)
	@if [ -n "$(PYTHON312)" ]; then $(MAKE) test PYTHON=$(PYTHON312) VENV=.venv-3.12; \
	else echo "not tested with Python 3.12: none on PATH (PYTHON312=path)"; fi

# Both of README.md's commands on a bare Debian 12, in a folder: root and debootstrap are needed.
test-bare:
	tools/test_bare.sh $(BARE) $(PYTHON312)

# The host package on the boards' processor, emulated: root, debootstrap, qemu-user and proot.
test-arm: $(VENV)/.build $(DEMO)/$(BOARD)/manifest.json
	tools/test_arm.sh $(ARM) $(BIN)/python $(DEMO)/$(BOARD)

# After a change of dependencies in pyproject.toml. Keeps what still fits; UPGRADE=--upgrade takes
# the newest of all.
lock: $(VENV)/.build
	$(INSTALL) --group lock
	$(BIN)/python tools/lock.py $(UPGRADE)

# NNgen in an environment of its own: its packages are no concern of ours.
$(BENCH)/nngen/.installed: bench/nngen-requirements.txt | $(BIN)/python
	rm -rf $(BENCH)/nngen
	$(BIN)/python -m venv $(BENCH)/nngen
	$(BENCH)/nngen/bin/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@

# About 15 minutes on two cores the first time, 25 with --rtl; rewrites docs/benchmark.*.
bench: $(VENV)/.models $(BENCH)/nngen/.installed
	$(BIN)/python -m bench --nngen $(BENCH)/nngen/bin/python --folder $(BENCH) $(BENCH_OPTIONS)

# Checks the networks of fpga_gen_models.zoo for two boards; tens of minutes. Rewrites
# docs/networks.md. NETWORKS_OPTIONS="--only resnet"
networks: $(VENV)/.test
	$(BIN)/python -m bench.survey $(NETWORKS_OPTIONS)

# Places and routes blocks of a 7-series engine with nextpnr, where it is on PATH and FPGA_GEN_CHIPDB
# names its chip database; without, one line says so. Rewrites docs/place-and-route.md.
pnr: $(VENV)/.test
	$(BIN)/python -m bench.place_and_route

clean:
	rm -rf build dist $(VENV) .venv-3.12 .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
