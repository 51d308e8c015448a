# The core for C and C++, libchatpb, and for WebAssembly, chatpb.wasm.

CBINDGEN_VERSION := 0.29.0
CBINDGEN := $(TOOLBIN)/cbindgen

HEADER := polyglot/cpp/include/chatpb.h
C_VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' native/abi/Cargo.toml)
PREFIX ?= /usr/local
ABI_SOURCES := native/Cargo.toml native/Cargo.lock $(wildcard native/abi/Cargo.toml native/abi/build.rs native/abi/src/*.rs \
               native/core/Cargo.toml native/core/src/*.rs native/core/src/*/*.rs native/core/src/*.binpb)
C_LIBRARY := native/target/release/libchatpb.so
CARGO_ABI := --quiet --locked --package chatpb-abi --manifest-path native/Cargo.toml
# Whatever CARGO_TARGET_DIR says.
ABI_TARGET := --target-dir native/target

.PHONY: wasm gen-c drift-c libchatpb install-c test-c miri

# WebAssembly: chatpb.wasm runs everywhere; chatpb-simd.wasm where there is SIMD, as in browsers and Node.

WASM := build/wasm
WASM_TARGET := wasm32-unknown-unknown
# What an error of a bug names is not a folder of this machine.
WASM_FLAGS = "--remap-path-prefix=$(CURDIR)=/chatpb","--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo"
wasm_build = cargo rustc $(CARGO_ABI) $(ABI_TARGET) --profile wasm --target $(WASM_TARGET) --crate-type cdylib \
             --config 'target.$(WASM_TARGET).rustflags=[$(WASM_FLAGS)$(2)]' && \
             mkdir -p $(WASM) && install -m 644 native/target/$(WASM_TARGET)/wasm/chatpb.wasm $(1)

wasm: $(WASM)/chatpb.wasm $(WASM)/chatpb-simd.wasm ## Build the core for WebAssembly: build/wasm/chatpb.wasm and, with SIMD, chatpb-simd.wasm

$(WASM)/chatpb.wasm: $(ABI_SOURCES)
	@! command -v rustup >/dev/null || rustup target list --installed | grep -qx $(WASM_TARGET) || rustup target add $(WASM_TARGET)
	@$(call wasm_build,$@,)

$(WASM)/chatpb-simd.wasm: $(WASM)/chatpb.wasm
	@$(call wasm_build,$@,$(,)"-Ctarget-feature=+simd128")

# For Java, whose compiler leaves methods of more than 8000 bytes to the interpreter: small functions.
$(WASM)/chatpb-java.wasm: $(ABI_SOURCES)
	@! command -v rustup >/dev/null || rustup target list --installed | grep -qx $(WASM_TARGET) || rustup target add $(WASM_TARGET)
	@CARGO_PROFILE_WASM_OPT_LEVEL=2 && export CARGO_PROFILE_WASM_OPT_LEVEL && $(call wasm_build,$@,$(,)"-Cllvm-args=-inline-threshold=5")

, := ,

# C.

$(CBINDGEN):
	cargo install --quiet --locked --debug --root $(TOOLS) cbindgen --version $(CBINDGEN_VERSION)

gen-c: $(CBINDGEN) ## Generate chatpb.h from the functions of native/abi
	@cd native/abi && $(CBINDGEN) --quiet --config cbindgen.toml --output $(CURDIR)/$(HEADER)

drift-c: $(CBINDGEN) ## Check that the committed chatpb.h is what `make gen-c` generates
	@mkdir -p build && cd native/abi && $(CBINDGEN) --quiet --config cbindgen.toml --output $(CURDIR)/build/chatpb.h
	diff build/chatpb.h $(HEADER)

libchatpb: $(C_LIBRARY) ## Build libchatpb, shared and static, in native/target/release

$(C_LIBRARY): $(ABI_SOURCES)
	@cargo build $(CARGO_ABI) $(ABI_TARGET) --release
	@touch $@

install-c: $(C_LIBRARY) ## Install libchatpb, its headers and its pkg-config and CMake files; PREFIX=/usr/local, DESTDIR=
	sh polyglot/cpp/install.sh native/target/release '$(C_VERSION)' '$(PREFIX)'

# Tests. The programs in C and C++ are built with the address and undefined behaviour sanitizers; with
# NIGHTLY=1, the library is built with the address sanitizer too, by a nightly toolchain.

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
C_FLAGS := -g -O1 -Wall -Wextra -Wpedantic -Werror $(SANITIZE) -Ipolyglot/cpp/include
C_TEST := build/test-c
C_TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')
# libchatpb.a, and what it needs.
c_library = $(C_TEST)/chatpb/lib/libchatpb.a \
            $$(PKG_CONFIG_PATH=$(C_TEST)/chatpb/lib/pkgconfig pkg-config --libs-only-l --static chatpb | sed 's/-lchatpb//')

test-c: setup drift-c libchatpb ## Run all vectors, hostile calls and threads through libchatpb with sanitizers; NIGHTLY=1: also in the library
	@mkdir -p $(C_TEST)
	@$(BIN)/python tests/polyglot/c/cases.py $(C_TEST)/cases.tsv
	@sh polyglot/cpp/install.sh native/target/release '$(C_VERSION)' $(C_TEST)/chatpb
ifdef NIGHTLY
	@RUSTFLAGS=-Zsanitizer=address cargo +nightly build $(CARGO_ABI) --target $(C_TRIPLE) --target-dir native/target/asan
	@cp native/target/asan/$(C_TRIPLE)/debug/libchatpb.a $(C_TEST)/chatpb/lib
endif
	@$(CC) -std=c11 $(C_FLAGS) tests/polyglot/c/vectors.c $(c_library) -o $(C_TEST)/vectors
	@$(CXX) -std=c++17 $(C_FLAGS) tests/polyglot/c/objects.cpp $(c_library) -o $(C_TEST)/objects
	@$(C_TEST)/vectors $(C_TEST)/cases.tsv
	@$(C_TEST)/objects
	@sh tests/polyglot/c/examples.sh $(CURDIR)/$(C_TEST)/chatpb $(C_TEST)/examples

miri: ## Run the tests of the C ABI in Miri, which finds undefined behaviour; needs the nightly toolchain
	@rustup component add --toolchain nightly miri rust-src 2>/dev/null
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test $(CARGO_ABI) --target-dir native/target/miri
