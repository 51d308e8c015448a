# The page docs/playground: its bundle is committed, and compared with what its sources give.

PLAYGROUND := docs/playground
PLAYGROUND_TEST := tests/polyglot/playground
PLAYGROUND_BUILD = cd $(PLAYGROUND) && node_modules/.bin/tsc && node build.mjs

.PHONY: playground playground-check test-playground clean-playground

playground: $(PLAYGROUND)/node_modules ## Build docs/playground, a page that shows a chat completion and its bytes
	$(PLAYGROUND_BUILD)

playground-check: $(PLAYGROUND)/node_modules ## Check that the committed bundle is the one that `make playground` gives
	@mkdir -p build
	$(PLAYGROUND_BUILD) $(CURDIR)/build/playground.js
	cmp build/playground.js $(PLAYGROUND)/playground.js

# In CI, as root, Chromium is installed from Debian's packages; elsewhere that is for people to do.
test-playground: ## Test docs/playground in headless Chromium
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && [ -n "$(CI)" ]; then \
	  (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium) >/dev/null; \
	fi
	@for tool in node npm chromium; do \
	  command -v $$tool >/dev/null && continue; \
	  echo "the playground's test needs $$tool, which is missing here" >&2; \
	  [ -z "$(CI)" ] || exit 1; \
	  echo "test-playground: left out"; exit 0; \
	done; $(MAKE) --no-print-directory .test-playground

.PHONY: .test-playground
.test-playground: playground-check $(PLAYGROUND_TEST)/node_modules
	cd $(PLAYGROUND_TEST) && node --test --test-reporter=dot

$(PLAYGROUND)/node_modules: $(PLAYGROUND)/package-lock.json $(TOOLS)/typescript
	cd $(@D) && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

$(PLAYGROUND_TEST)/node_modules: $(PLAYGROUND_TEST)/package-lock.json
	cd $(@D) && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

clean-playground:
	rm -rf $(PLAYGROUND)/node_modules $(PLAYGROUND_TEST)/node_modules
