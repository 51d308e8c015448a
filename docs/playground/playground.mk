# The page docs/playground. Its bundle is committed; CI checks that the sources still produce it.

PLAYGROUND := docs/playground
PLAYGROUND_TEST := tests/polyglot/playground
PLAYGROUND_BUILD = cd $(PLAYGROUND) && node_modules/.bin/tsc && node build.mjs

.PHONY: playground playground-check test-playground clean-playground

playground: $(PLAYGROUND)/node_modules ## Build docs/playground, a page that shows a chat completion and its bytes
	$(PLAYGROUND_BUILD)

playground-check: $(PLAYGROUND)/node_modules ## Check that the committed bundle is what `make playground` builds
	@mkdir -p build
	$(PLAYGROUND_BUILD) $(CURDIR)/build/playground.js
	cmp build/playground.js $(PLAYGROUND)/playground.js

# Installs Debian's chromium only in CI and as root.
test-playground: ## Test docs/playground, and a page that calls the relay, in headless Chromium
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && [ -n "$(CI)" ]; then \
	  (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium) >/dev/null; \
	fi
	@for tool in node npm chromium; do \
	  command -v $$tool >/dev/null && continue; \
	  echo "the playground's test needs $$tool, which is not installed" >&2; \
	  [ -z "$(CI)" ] || exit 1; \
	  echo "test-playground: skipped"; exit 0; \
	done; $(MAKE) --no-print-directory .test-playground

.PHONY: .test-playground
.test-playground: setup playground-check $(PLAYGROUND_TEST)/node_modules
	cd $(PLAYGROUND_TEST) && node --test --test-reporter=dot

$(PLAYGROUND)/node_modules: $(PLAYGROUND)/package-lock.json $(TOOLS)/typescript
	cd $(@D) && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

$(PLAYGROUND_TEST)/node_modules: $(PLAYGROUND_TEST)/package-lock.json
	cd $(@D) && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

clean-playground:
	rm -rf $(PLAYGROUND)/node_modules $(PLAYGROUND_TEST)/node_modules
