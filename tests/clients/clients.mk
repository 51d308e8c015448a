# The clients of others, in front of the relay's HTTP API and of chatpb.transport.

SDK := .venv-sdk

.PHONY: test-sdk clean-clients

clean-clients:
	rm -rf $(SDK)

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
