# `make demo` runs the main job, `make test` the tests; each makes what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Re-made when the lock or the metadata change.
STAMP  := $(VENV)/.installed

# Where the packages are built and left.
DEB ?= build/deb
DEB_TIME := $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)

.PHONY: help venv demo demo-chef test interop contrib bench lint format docs html lock deb clean

help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

venv: $(STAMP) ## make .venv with everything installed

# Build isolation is off so that the pinned setuptools builds, today and in a year. The compat mode leaves a plain
# path entry: the editable hooks of setuptools hide twistd's plugins.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--config-settings editable_mode=compat --editable .
	$(BIN)/python -m compileall -q pushy_protocol pushyd pushy_agent pushy_cli
	touch $@

demo: venv ## run a server and three agents here, and jobs on them (KEEP=1 leaves it running)
	$(BIN)/python -m demo $(if $(KEEP),--keep)

demo-chef: venv ## the demo's jobs with a Chef Server (its double) as identity
	$(BIN)/python -m demo.chef $(if $(KEEP),--keep)

test: venv ## run all tests (TESTS=path or ARGS=… for some)
	$(BIN)/python -m pytest $(ARGS) $(TESTS)

bench: venv ## measure every goal of docs/performance.md (ARGS="job --tenth --json FILE" for some; an hour for all)
	$(BIN)/python -m benchmarks.run $(ARGS)

interop: venv ## the server with peers on Chef's own Ruby libraries (Debian: ruby-mixlib-authentication, ruby-ffi-rzmq)
	$(BIN)/python -m pytest $(ARGS) tests/interop

contrib: venv ## the Ansible role and the Chef cookbook (Debian: ruby)
	$(BIN)/yamllint --strict -c contrib/ansible/.yamllint contrib/ansible
	$(BIN)/python -m pytest $(ARGS) tests/contrib

growth: venv ## see that what a job costs grows no faster than its nodes
	$(BIN)/python -m benchmarks.growth

lint: venv ## ruff and mypy, strict
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv ## ruff's format and safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: venv ## make docs/cli.md, man pages and golden help from the commands, the rows of docs/settings.md from the settings
	$(BIN)/python -m tests.pushy_cli.test_manual
	$(BIN)/python -m tests.docs.test_settings_reference

html: venv ## make the documentation as a site, in build/html; every warning and every link within it counts
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/html

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade --all-extras \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra build \
		--constraint requirements.lock --custom-compile-command "make lock" \
		--output-file requirements-install.lock pyproject.toml

# From a copy, for it leaves much behind; with what is there, also what is not committed. VERSION=… is for tests.
deb: ## build the Debian packages into build/deb, and check them (apt-get build-dep . && apt-get install lintian before)
	rm -rf $(DEB) && mkdir -p $(DEB)/pushy
	git ls-files -z --cached --others --exclude-standard | tar -c --null -T - --ignore-failed-read | tar -x -C $(DEB)/pushy
	$(if $(VERSION),sed -i 's/^version = .*/version = "$(VERSION)"/' $(DEB)/pushy/pyproject.toml)
	python3 debian/changelog.py $(DEB)/pushy $(DEB_TIME) > $(DEB)/pushy/debian/changelog
	cd $(DEB)/pushy && SOURCE_DATE_EPOCH=$(DEB_TIME) dpkg-buildpackage --no-sign
	rm -r $(DEB)/pushy
	lintian --fail-on error,warning $(DEB)/*.changes

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
