# Packages: what is published, built into dist/ and tried out from there.

DIST_ENV := .venv-dist
DIST_RUN := $(DIST_ENV)/bin/python -m

.PHONY: dist test-dist version release-names

$(DIST_ENV)/.done: uv.lock $(UV)
	$(PYTHON) -m venv $(DIST_ENV)
	$(call sync,$(DIST_ENV)) --only-group dist
	@touch $@

dist: $(DIST_ENV)/.done ## Build the packages of all languages into dist/; ALL=1: for each system that can be built for here
	$(DIST_RUN) release.build $(if $(ALL),--all) $(ARGS)

version: ## Check that all packages have the same version; V=0.2.0 sets it
	@$(PYTHON) -m release.versions $(if $(V),--set $(V))

test-dist: setup dist ## Install the packages in dist/ in clean environments without a compiler, and use them
	$(BIN)/python -m pytest tests/packages $(TEST_ARGS)

release-names: ## Ask the registries whether the names of the packages are free, and list the texts that use them
	@$(PYTHON) -m release.names
