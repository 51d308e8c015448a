# The clients of others, in front of the relay's HTTP API and of chatpb.transport.

SDK := .venv-sdk

.PHONY: test-sdk test-sdk-postgres clean-clients

clean-clients:
	rm -rf $(SDK) $(CLIENTS) tests/clients/node/node_modules

# The tests of OpenAI's SDK for Python.

$(SDK)/.done: uv.lock $(UV)
	$(PYTHON) -m venv $(SDK)
	$(call sync,$(SDK)) --no-default-groups --group sdk --extra transport
	@touch $@

# The source package of the locked openai: uv.lock has its hash too.
build/openai/.done: uv.lock $(SDK)/.done
	@rm -rf $(@D) && mkdir -p $(@D)
	@$(SDK)/bin/python -c 'import tomllib; p = next(p for p in tomllib.load(open("uv.lock", "rb"))["package"] if p["name"] == "openai"); \
	  print("openai==" + p["version"], "--hash=" + p["sdist"]["hash"])' > $(@D)/requirements.txt
	$(SDK)/bin/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --no-build-isolation \
	  --no-binary openai --dest $(@D) --requirement $(@D)/requirements.txt
	@tar -xzf $(@D)/openai-*.tar.gz --strip-components=1 -C $(@D)
	@touch $@

test-sdk: setup build/openai/.done ## Run the chat tests of OpenAI's Python SDK through the transport and the HTTP edge
	@for way in transport edge 'edge and core'; do echo "through the $$way:"; \
	  (cd build/openai && CHATPB_SDK_THROUGH="$$way" CHATPB_SERVER='$(CURDIR)/$(BIN)/chatpb-server' PYTHONDONTWRITEBYTECODE=1 \
	    PYTHONPATH='$(CURDIR)/tests/clients:$(CURDIR)' '$(CURDIR)/$(SDK)/bin/python' -m pytest -o addopts= -q --tb=short \
	    -p openai_sdk tests/lib/chat tests/api_resources/chat) || exit 1; done

test-sdk-postgres: $(VENV)/.postgres ## The same, with stored completions in a PostgreSQL server that it starts
	@CHATPB_POSTGRES="$$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)" PYTHONPATH=tests \
	  $(BIN)/python tests/clients/with_postgres.py $(MAKE) test-sdk

# Clients of others; each language runs the cases of tests/clients/cases.json.

CLIENTS := .venv-clients
TEST_CLIENTS = $(BIN)/python -m pytest --durations=0 --durations-min=1 tests/clients/test_clients.py

.PHONY: test-clients test-clients-python test-clients-node test-clients-go test-clients-java

test-clients: test-clients-python test-clients-node test-clients-go test-clients-java ## Run the cases with clients and frameworks in four languages; needs node, Go and Maven

$(CLIENTS)/.done: requirements/clients.txt $(UV)
	$(PYTHON) -m venv $(CLIENTS)
	$(UV) pip sync --quiet --require-hashes --compile-bytecode --python $(CLIENTS)/bin/python $<
	@touch $@

test-clients-python: setup $(CLIENTS)/.done ## The same with those for Python: OpenAI's, LangChain, LlamaIndex, Instructor, Pydantic AI, Agents SDK, LiteLLM, DSPy
	CHATPB_CLIENTS=python CHATPB_CLIENTS_PYTHON='$(CURDIR)/$(CLIENTS)/bin/python' $(TEST_CLIENTS)

tests/clients/node/node_modules: tests/clients/node/package-lock.json
	cd $(@D) && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

test-clients-node: setup tests/clients/node/node_modules ## The same with those for Node: OpenAI's and Vercel's AI SDK
	CHATPB_CLIENTS=node $(TEST_CLIENTS)

build/clients/go: $(wildcard tests/clients/go/*)
	cd tests/clients/go && $(GO) vet . && $(GO) build -o $(abspath $@) .

test-clients-go: setup build/clients/go ## The same with those for Go: OpenAI's and go-openai
	CHATPB_CLIENTS=go $(TEST_CLIENTS)

# Maven checks the digests of what it downloads; pom.xml has the versions.
build/clients/java/classpath: tests/clients/java/pom.xml $(wildcard tests/clients/java/src/main/java/*)
	mvn --quiet --batch-mode --file $< compile dependency:build-classpath -Dmdep.includeScope=runtime -Dmdep.outputFile=$(abspath $@)
	@touch $@

test-clients-java: setup build/clients/java/classpath ## The same with OpenAI's for Java; needs Maven and Java 17 or newer
	CHATPB_CLIENTS=java CHATPB_CLIENTS_JAVA="$(CURDIR)/build/clients/java/classes:$$(cat build/clients/java/classpath)" $(TEST_CLIENTS)
