# The one door to every task, for people and CI alike. `make help` lists them.
# Each target sets up what it needs; a second run is quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv from the machine when it has one, otherwise a private copy from PyPI.
UV := $(or $(shell command -v uv 2>/dev/null),.tools/uv/bin/uv)
UV_VERSION := 0.13.9
SOURCES := src tests benchmarks examples tools
PROTOS := nimify/serving/grpc/protos

# The system's own: Triton's python backend links its shared library.
TRITON_PYTHON ?= /usr/bin/python3
# What `make bench-peers` has an environment for, beside Triton and FastAPI.
PEERS := bentoml kserve litserve mlserver
# What its wheel is built for; the tool brings the C library where the system's is older.
PERF_ANALYZER_PLATFORM := --python-platform x86_64-manylinux_2_38
TRITON_CONTRACT := $(patsubst %,tests/service/test_%.py,clients batching management json_attacks tensor_attacks http_attacks)

# One more than cores of a small machine: tests that start services wait a good deal.
TEST_WORKERS ?= 3
TEST_MARKERS := not chart and not cluster and not container and not fuzz and not monitoring and not scanners
TEST_MARKERS += and not supply_chain and not triton

.DEFAULT_GOAL := help
.PHONY: help setup tools tools-scanners demo test fuzz soak soak-rollouts test-chart test-monitoring test-triton \
  test-supply-chain test-container test-scanners test-cluster cluster-build cluster-up cluster-down check fmt docs \
  goldens lock protos digits bench-serve bench-peers bench-grpc bench-large bench-estimates bench-shapes bench-analysis clean

help: ## list the tasks
	@grep -E '^[a-z-]+:.*## ' Makefile | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

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

test: $(VENV)/.ready ## every test but those that a target of their own runs
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile -m "$(TEST_MARKERS)"

fuzz: $(VENV)/.ready ## send nonsense to a service for FUZZ_SECONDS=60, from FUZZ_SEED=n; FUZZ_REPLAY=file sends one case
	$(BIN)/python -m pytest tests/service/fuzz -m fuzz -p no:randomly -s $(ARGS)

soak: $(VENV)/.ready ## half an hour of load with faults: memory, descriptors and latency stay; ARGS="--minutes 5"
	$(BIN)/python -m tests.soak.faults $(ARGS)

soak-rollouts: $(VENV)/.ready ## 100 000 requests while releases take over from each other: none is lost
	$(BIN)/python -m tests.soak.rollouts $(ARGS)

test-triton: $(VENV)/.ready .tools/triton/.ready .tools/kserve/.ready .tools/perf-analyzer/.ready ## the Triton engine, and the service's contract, with the real tritonserver
	$(BIN)/python -m pytest tests/triton
	$(BIN)/python -m pytest --serve-with triton $(TRITON_CONTRACT)

tools: ## build the Go programs that tests drive into .tools/bin; takes minutes, once
	$(PYTHON) tools/install_go_tools.py .tools/bin

tools-scanners: ## build grype, trivy, cosign and Docker Compose into .tools/bin; takes the better part of an hour, once
	$(PYTHON) tools/install_go_tools.py .tools/bin tools/go-scanners.txt

test-scanners: $(VENV)/.ready tools-scanners ## scans, image signatures and compose.yaml, by the real grype, trivy, cosign and Docker Compose; as root, on Debian; no part of continuous integration
	$(BIN)/python tools/container_engine.py install
	NIMIFY_REQUIRE=scanners,docker $(BIN)/python -m pytest -m scanners tests/scanners tests/container

test-chart: $(VENV)/.ready tools ## the Helm chart and `nimify validate`, by the real Helm, strict schemas, kube-score
	NIMIFY_REQUIRE=chart,validate $(BIN)/python -m pytest tests/chart tests/unit/conformance

test-monitoring: $(VENV)/.ready ## rules and dashboard, by the real Prometheus; each alert fires once
	NIMIFY_REQUIRE=monitoring $(BIN)/python -m pytest tests/monitoring

test-container: $(VENV)/.ready .tools/triton/.ready ## images and the docker target, by real engines and a real registry; as root, on Debian
	$(BIN)/python tools/container_engine.py install
	NIMIFY_REQUIRE=docker $(BIN)/python -m pytest --timeout 1800 -m container tests/container

cluster-build: $(VENV)/.ready tools ## build Kubernetes for test-cluster, once; takes half an hour and more
	$(BIN)/python tools/container_engine.py install
	$(BIN)/python -m tools.cluster build

cluster-up: cluster-build ## a Kubernetes cluster of one node on this machine; as root, on Debian
	$(BIN)/python -m tools.cluster up

cluster-down: $(VENV)/.ready ## end it, and restore what it changed
	$(BIN)/python -m tools.cluster down

test-cluster: cluster-build ## the kubernetes target on a real cluster, with a real load; on that of cluster-up, or on its own
	$(BIN)/python -m pytest tests/cluster -p no:randomly

test-supply-chain: $(VENV)/.ready .tools/supply-chain/.ready ## signatures and bills of materials, by the official tools
	NIMIFY_REQUIRE=supply_chain $(BIN)/python -m pytest tests/supply_chain

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
	$(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --universal --python-version 3.11 \
	  --group pyproject.toml:triton --output-file requirements/triton.txt
	$(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --universal --python-version 3.11 \
	  --group pyproject.toml:kserve --output-file requirements/kserve.txt
	$(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 \
	  $(PERF_ANALYZER_PLATFORM) --group pyproject.toml:perf-analyzer --output-file requirements/perf-analyzer.txt
	$(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --universal --python-version 3.11 \
	  --group pyproject.toml:supply-chain --output-file requirements/supply-chain.txt
	for peer in $(PEERS); do \
	  $(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --universal --python-version 3.11 \
	    --group pyproject.toml:peer-$$peer --output-file requirements/peers/$$peer.txt || exit; \
	done
	$(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --universal --python-version 3.11 \
	  --constraint requirements/dev.txt --group pyproject.toml:serving \
	  --output-file src/nimify/artifacts/container/requirements.txt

protos: .tools/generate/.ready ## generate the protobuf modules from protos/ again
	@# Under a virtual path of our own: files of the same name, as tritonclient's and gRPC's, would be taken for theirs.
	.tools/generate/bin/python -m grpc_tools.protoc -I$(PROTOS)=protos --python_out=src --pyi_out=src \
	  $(patsubst protos/%,$(PROTOS)/%,$(wildcard protos/*.proto))

digits: .tools/generate/.ready ## train the digits model again
	.tools/generate/bin/python examples/digits/train.py

bench-serve: $(VENV)/.ready .tools/bench/.ready ## throughput and latency against a raw loop and FastAPI, as ratios
	$(BIN)/python -m benchmarks.serve $(ARGS)

bench-peers: $(VENV)/.ready .tools/bench/.ready .tools/triton/.ready $(PEERS:%=.tools/peers/%/.ready) ## against Triton, MLServer, LitServe, BentoML, KServe, as ratios
	$(BIN)/python -m benchmarks.peer_serve $(ARGS)

bench-grpc: $(VENV)/.ready ## gRPC against grpc.aio, as ratios; needs h2load
	$(BIN)/python -m benchmarks.grpc_serve $(ARGS)

bench-large: $(VENV)/.ready ## how long large bodies hold up others
	$(BIN)/python -m benchmarks.large_bodies $(ARGS)

bench-estimates: $(VENV)/.ready ## estimated against measured peak memory, over the model zoo
	$(BIN)/python -m benchmarks.estimates $(ARGS)

bench-shapes: $(VENV)/.ready ## inferred shapes against those at run time, over the model zoo
	$(BIN)/python -m benchmarks.shapes $(ARGS)

bench-analysis: $(VENV)/.ready ## what an analysis costs, by weights and by nodes
	$(BIN)/python -m benchmarks.analysis_cost $(ARGS)

.tools/triton/.ready: requirements/triton.txt tools/tritonserver.py | $(filter .tools/%,$(UV))
	$(UV) venv --quiet --allow-existing --python $(TRITON_PYTHON) .tools/triton
	$(UV) pip sync --quiet --python .tools/triton/bin/python --require-hashes $<
	$(TRITON_PYTHON) tools/tritonserver.py .tools/triton
	@touch $@

.tools/perf-analyzer/.ready: requirements/perf-analyzer.txt tools/perf_analyzer.py | $(filter .tools/%,$(UV))
	$(UV) pip install --quiet --target .tools/perf-analyzer/package --no-deps $(PERF_ANALYZER_PLATFORM) --require-hashes -r $<
	$(PYTHON) tools/perf_analyzer.py .tools/perf-analyzer
	@touch $@

.tools/%/.ready: requirements/%.txt | $(filter .tools/%,$(UV))
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .tools/$*
	$(UV) pip sync --quiet --python .tools/$*/bin/python --require-hashes requirements/$*.txt
	@touch $@

clean: ## remove what the tasks made
	rm -rf $(VENV) .tools .demo .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis dist \
	  benchmarks/.models benchmarks/results
