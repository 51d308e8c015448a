# The stubs in other languages, their libraries and their conformance runners.
#
# Each generator is pinned: the drift check compares its output byte by byte, and the output must fit
# the runtime. If the runtime's version is pinned anyway (go.mod, package-lock.json, pom.xml,
# Cargo.lock), the generator takes its version from there.

TOOLS := .tools
TOOLBIN := $(CURDIR)/$(TOOLS)/bin
GENERATE = $(BIN)/python polyglot/generate.py
POLYGLOT := go java typescript rust cpp
# A Go module of its own, not part of grpc-go, so go.mod does not pin it.
PROTOC_GEN_GO_GRPC := v1.5.1
MAVEN_COPY := mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
              -Dmdep.stripVersion=true -DoutputDirectory=$(TOOLBIN)
POM := tests/polyglot/java/pom.xml
pom = $(shell sed -n 's|.*<$(1)>\(.*\)</$(1)>.*|\1|p' $(POM))
# This machine's name in Maven Central.
PLATFORM := $(if $(filter Darwin,$(shell uname -s)),osx,linux)-$(patsubst arm64,aarch_64,$(patsubst aarch64,aarch_64,$(shell uname -m)))
PROTO := $(wildcard proto/chatpb/v1/*.proto) buf.gen.yaml polyglot/generate.py
# The Debian packages that C++ needs. They fit one another: all are from one release of Debian.
CPP_PACKAGES := g++ make pkg-config protobuf-compiler protobuf-compiler-grpc libprotobuf-dev \
                libgrpc++-dev nlohmann-json3-dev
# Those that its benchmark needs too.
CPP_BENCH_PACKAGES := libsimdjson-dev rapidjson-dev

.PHONY: .always .cpp-packages polyglot fuzz-polyglot fuzz-go test-new-projects gen-polyglot gen-polyglot-other drift-polyglot clean-polyglot $(POLYGLOT:%=polyglot-%) \
        $(POLYGLOT:%=.gen-%) $(POLYGLOT:%=.build-%) .java-artifact .bench-java test-java-names

polyglot: setup ## Generate, build and test the stubs in five languages; ARGS=--docs updates docs/polyglot.md
	PYTHONPATH=tests $(BIN)/python tests/polyglot/run.py $(ARGS)

$(POLYGLOT:%=polyglot-%): polyglot-%: setup ## The same for one: polyglot-go, -java, -typescript, -rust, -cpp
	PYTHONPATH=tests $(BIN)/python tests/polyglot/run.py $(ARGS) $*

fuzz-polyglot: setup ## Build, and compare other languages with the reference on COUNT=... mutated inputs by SEED=...; LANGUAGES="go typescript"
	PYTHONPATH=tests $(BIN)/python -m polyglot.fuzz --build --count $(or $(COUNT),100000) --seed $(or $(SEED),1) $(LANGUAGES)

GO_FUZZERS := FuzzFromJSON FuzzToJSON FuzzTranscoder FuzzEmitter FuzzUnfold FuzzChunkDecoder

fuzz-go: ## Look for inputs that break the laws of the Go module, TIME=10s for each of them
	cd polyglot/go && for name in $(GO_FUZZERS); do \
	  $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(or $(TIME),10s) -fuzzminimizetime 1x . || exit 1; done

gen-polyglot: .gen-go .gen-typescript .gen-rust ## Generate the stubs that are committed: Go, TypeScript and Rust

gen-polyglot-other: .gen-java .gen-cpp ## Generate those of Java and C++ into build/; needs Maven and Debian packages

# Of Rust, and chatpb.h, where cargo is.
COMMITTED := go typescript $(if $(shell command -v cargo),rust)
drift-polyglot: $(COMMITTED:%=$(TOOLS)/%) $(if $(filter rust,$(COMMITTED)),drift-c) ## Check that the committed stubs, and chatpb.h, are what the generators make
	@rm -rf build/drift
	@$(GENERATE) $(COMMITTED) --output build/drift
	diff -r build/drift/polyglot/go/chatpb polyglot/go/chatpb
	diff -r build/drift/polyglot/typescript/src/gen polyglot/typescript/src/gen
	$(if $(filter rust,$(COMMITTED)),diff -r build/drift/native/core/src/gen native/core/src/gen)

clean-polyglot:
	rm -rf $(TOOLS) polyglot/typescript/node_modules polyglot/typescript/build polyglot/typescript/dist \
	  tests/polyglot/typescript/node_modules tests/polyglot/typescript/build

# Generators. Those of Python's environment are needed, but a new environment, which every change of
# native code makes, does not make the others anew.

$(TOOLS)/go: polyglot/go/go.mod polyglot/polyglot.mk | $(VENV)/.done
	cd polyglot/go && GOBIN=$(TOOLBIN) $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go
	GOBIN=$(TOOLBIN) $(GO) install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC)
	@touch $@

$(TOOLS)/typescript: polyglot/typescript/package-lock.json | $(VENV)/.done
	cd polyglot/typescript && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@mkdir -p $(@D) && touch $@

$(TOOLS)/java: $(POM) | $(VENV)/.done
	$(MAVEN_COPY) -Dartifact=com.google.protobuf:protoc:$(call pom,protobuf.version):exe:$(PLATFORM)
	$(MAVEN_COPY) -Dartifact=io.grpc:protoc-gen-grpc-java:$(call pom,grpc.version):exe:$(PLATFORM)
	@mv $(TOOLBIN)/protoc-$(PLATFORM).exe $(TOOLBIN)/protoc-java
	@mv $(TOOLBIN)/protoc-gen-grpc-java-$(PLATFORM).exe $(TOOLBIN)/protoc-gen-grpc-java
	@chmod +x $(TOOLBIN)/protoc-java $(TOOLBIN)/protoc-gen-grpc-java
	@touch $@

$(TOOLS)/rust: $(wildcard polyglot/rust-plugins/Cargo.* polyglot/rust-plugins/src/bin/*) | $(VENV)/.done
	cargo install --quiet --debug --locked --force --root $(TOOLS) --path polyglot/rust-plugins \
	  --target-dir build/polyglot/rust-target
	@touch $@

# Installs Debian's packages $(1), for $(2); only in CI and as root.
debian = if ! dpkg --status $(1) >/dev/null 2>&1; then \
    if [ "$$(id -u)" = 0 ] && [ -n "$(CI)" ]; then \
      (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(1)) >/dev/null; \
    else \
      echo '$(2) needs: apt-get install $(1)' >&2; exit 1; \
    fi; \
  fi

# Looked at each time, but changed only with protoc, whose stubs depend on this.
$(TOOLS)/cpp: .always | $(VENV)/.done
	@$(call debian,$(CPP_PACKAGES),C++)
	@mkdir -p $(@D)
	@protoc --version | cmp --quiet - $@ || protoc --version >$@

.always:

.cpp-packages:
	@echo $(CPP_PACKAGES)

# Stubs.

.gen-go .gen-typescript .gen-rust: .gen-%: $(TOOLS)/%
	$(GENERATE) $*

.gen-java .gen-cpp: .gen-%: build/polyglot/%/.done

build/polyglot/%/.done: $(TOOLS)/% $(PROTO)
	@rm -rf $(@D)
	$(GENERATE) $*
	@touch $@

# Runners. tests/polyglot/run.py calls these, and skips the languages whose toolchain is missing.

.build-go: .gen-go
	cd polyglot/go && $(GO) vet ./... && $(GO) test -count=1 ./...
	cd tests/polyglot/go && $(GO) vet ./... && $(GO) build -o $(CURDIR)/build/polyglot/go-runner .

tests/polyglot/typescript/node_modules: tests/polyglot/typescript/package-lock.json
	cd $(@D) && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

.build-typescript: .gen-typescript tests/polyglot/typescript/node_modules build/wasm/chatpb-simd.wasm
	cd polyglot/typescript && npm run --silent build && npm run --silent pretest && npm run --silent examples && node --test --test-reporter=dot build/test/*.test.js
	cd tests/polyglot/typescript && npm run --silent build

.build-java: test-java-names
	mvn --quiet --batch-mode --file $(POM) process-classes

# The artifact of polyglot/java, built, tested and in the local repository of Maven. Its stubs are
# generated by Maven; those of .gen-java show that buf generates the same names.
.java-artifact: build/polyglot/java-artifact/.installed

build/polyglot/java-artifact/.installed: build/wasm/chatpb-java.wasm $(PROTO) $(shell find polyglot/java -type f)
	mvn --quiet --batch-mode --file polyglot/java/pom.xml -Dmaven.javadoc.skip -Dmaven.source.skip install
	@touch $@

test-java-names: .java-artifact .gen-java ## Check that Maven, buf and protoc give Java's stubs the same names
	sh tests/polyglot/java/names.sh build/polyglot/java-artifact/generated-sources/protobuf build/polyglot/java \
	  $(TOOLBIN)/protoc-java --proto_path=$$(echo build/polyglot/java-artifact/protobuf-maven-plugin/generate/default/archives/protobuf-java-*)

.build-rust:
	cd tests/polyglot/rust && cargo build --quiet --locked --target-dir $(CURDIR)/build/polyglot/rust-target

.build-cpp: .gen-cpp libchatpb
	@sh polyglot/cpp/install.sh native/target/release '$(C_VERSION)' build/polyglot/cpp-chatpb
	$(MAKE) --no-print-directory -j2 -C tests/polyglot/cpp PYTHON=$(CURDIR)/$(BIN)/python

# Benchmarks. benchmarks/polyglot/compare.py calls these.

.bench-java: .java-artifact
	mvn --quiet --batch-mode --file benchmarks/polyglot/java/pom.xml process-classes
	@printf '#!/bin/sh\nexec java -cp "%s/classes:%s/lib/*" chatpb.benchmark.Main "$$@"\n' \
	  $(CURDIR)/build/polyglot/java-benchmark $(CURDIR)/build/polyglot/java-benchmark > build/polyglot/bench-java
	@chmod +x build/polyglot/bench-java

.bench-rust:
	cd benchmarks/polyglot/rust && cargo build --quiet --release --locked --target-dir $(CURDIR)/build/polyglot/rust-target
	cp build/polyglot/rust-target/release/bench-rust build/polyglot/bench-rust

.bench-cpp: .gen-cpp libchatpb
	@$(call debian,$(CPP_BENCH_PACKAGES),The benchmark of C++)
	@sh polyglot/cpp/install.sh native/target/release '$(C_VERSION)' build/polyglot/cpp-chatpb
	$(MAKE) --no-print-directory -j2 -C benchmarks/polyglot/cpp

.bench-go:
	cd benchmarks/polyglot/go && $(GO) vet ./... && $(GO) build -o $(CURDIR)/build/polyglot/bench-go .

.bench-typescript: $(TOOLS)/typescript build/wasm/chatpb-simd.wasm
	cd polyglot/typescript && npm run --silent build
	@mkdir -p build/polyglot
	@printf '#!/bin/sh\nexec node %s "$$@"\n' '$(CURDIR)/benchmarks/polyglot/typescript/main.mjs' >build/polyglot/bench-typescript
	@chmod +x build/polyglot/bench-typescript

test-new-projects: setup ## Follow docs/polyglot.md to the letter in empty folders, one for each language; ARGS="-k Go" for one
	$(BIN)/python -m pytest tests/polyglot/new_projects $(ARGS)
