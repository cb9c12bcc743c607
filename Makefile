# The one door to every task, for people and CI alike. `make help` lists them.
# Each target sets up what it needs; a second run is quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv from the machine when it has one, otherwise a private copy from PyPI.
UV := $(or $(shell command -v uv 2>/dev/null),.tools/uv/bin/uv)
UV_VERSION := 0.13.9
SOURCES := src tests benchmarks examples

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt docs goldens lock protos digits bench-serve bench-estimates bench-shapes bench-analysis clean

help: ## list the tasks
	@grep -E '^[a-z-]+:.*## ' Makefile | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## make .venv/ with the nimify command and every development tool

.tools/uv/bin/uv:
	$(PYTHON) -m venv .tools/uv
	.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# UV is an order-only prerequisite only when it is our private copy.
$(VENV)/.ready: pyproject.toml requirements/dev.txt | $(filter .tools/%,$(UV))
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.ready ## the main job on a real model: create, serve, ask, measure, stop
	$(BIN)/python examples/digits/demo.py

test: $(VENV)/.ready ## every test
	$(BIN)/python -m pytest

check: $(VENV)/.ready ## lint, format, types, import rules, generated docs; edits nothing
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m nimify.testing.reference --check docs/reference

fmt: $(VENV)/.ready ## format, and fix what can be fixed by itself
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

docs: $(VENV)/.ready ## write the generated pages under docs/reference
	$(BIN)/python -m nimify.testing.reference docs/reference

goldens: $(VENV)/.ready ## rewrite the expected files of the golden tests
	$(BIN)/python -m pytest tests/golden --update-goldens

lock: | $(filter .tools/%,$(UV)) ## resolve the hashed requirement files again
	$(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --universal --python-version 3.11 \
	  --group dev --output-file requirements/dev.txt pyproject.toml
	$(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --universal --python-version 3.11 \
	  --group bench --output-file requirements/bench.txt pyproject.toml
	$(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --universal --python-version 3.11 \
	  --group generate --output-file requirements/generate.txt pyproject.toml

protos: .tools/generate/.ready ## generate the protobuf modules from protos/ again
	@# The virtual path keeps the file's registered name apart from that of tritonclient's module of the same name.
	.tools/generate/bin/python -m grpc_tools.protoc -Inimify/artifacts/protos=protos --python_out=src --pyi_out=src \
	  nimify/artifacts/protos/model_config.proto

digits: .tools/generate/.ready ## train the digits model again
	.tools/generate/bin/python examples/digits/train.py

bench-serve: $(VENV)/.ready .tools/bench/.ready ## throughput and latency against a raw loop and FastAPI, as ratios
	$(BIN)/python -m benchmarks.serve $(ARGS)

bench-estimates: $(VENV)/.ready ## estimated against measured peak memory, over the model zoo
	$(BIN)/python -m benchmarks.estimates $(ARGS)

bench-shapes: $(VENV)/.ready ## inferred shapes against those at run time, over the model zoo
	$(BIN)/python -m benchmarks.shapes $(ARGS)

bench-analysis: $(VENV)/.ready ## what an analysis costs, by weights and by nodes
	$(BIN)/python -m benchmarks.analysis_cost $(ARGS)

.tools/%/.ready: requirements/%.txt | $(filter .tools/%,$(UV))
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .tools/$*
	$(UV) pip sync --quiet --python .tools/$*/bin/python --require-hashes requirements/$*.txt
	@touch $@

clean: ## remove what the tasks made
	rm -rf $(VENV) .tools .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis dist \
	  benchmarks/.models benchmarks/results
