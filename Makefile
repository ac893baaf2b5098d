# Every command of the project. A virtual environment in .venv is made when first needed; set PYTHON to use another.
PYTHON ?= .venv/bin/python
AAKIT = $(PYTHON) -m aaclip_kit
# Without its byte code, torch takes three times as long to import, in each process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run check test test-all lint docs bench fuzz audit clean

run: $(PYTHON)
	$(AAKIT) run experiments/feedback.toml

# Three tiers of tests. Each uses as many processes as there are cores, up to four, with a thread each: most of the time
# is one core's anyway. What a tier leaves out bears a marker (`pytest --markers`), and still runs when it is named.
PYTEST = OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n logical --maxprocesses 4 $(OPTIONS)
EVERY_DAY = -m "not slow"
CHECKED = tests/experiment tests/evaluation tests/data tests/plugins tests/plugin_host/test_plugins.py tests/test_api.py \
	tests/test_architecture.py

# While you work: 2 minutes on two cores.
check: lint
	$(PYTEST) -q $(EVERY_DAY) $(CHECKED)

# Before you hand something in: 6 to 7 minutes.
test: $(PYTHON)
	$(PYTEST) $(EVERY_DAY)

# Everything, with more kills and new cases of the fuzz, and with the lowest and the newest versions.
KILLS ?= 50
test-all: $(PYTHON)
	AAKIT_KILLS=$(KILLS) AAKIT_FUZZ_CASES=$(or $(CASES),6000) $(PYTEST)
	.ci/lowest
	.ci/newest

lint: $(PYTHON)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy aaclip_kit plugins tools tests benchmarks
	$(dir $(PYTHON))lint-imports

# The generated pages, then the site in build/site; a link that leads nowhere is an error.
docs: $(PYTHON)
	$(PYTHON) docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

bench: $(PYTHON)
	$(PYTHON) benchmarks/bench.py

# The long run; `make fuzz CASES=1000` draws fewer.
fuzz: $(PYTHON)
	AAKIT_FUZZ_CASES=$(or $(CASES),24000) $(PYTHON) -m pytest --timeout 0 tests/fuzz

# Known weaknesses of what is installed. Needs the network; --strict, or it is content where it has found out nothing.
audit: $(PYTHON)
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet pip-audit
	$(PYTHON) -m pip freeze --exclude-editable > build/audit/installed.txt
	build/audit/bin/pip-audit --strict --no-deps --disable-pip -r build/audit/installed.txt

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

# setuptools tells of every editable installation as a warning, and pip shows it.
.venv/bin/python: pyproject.toml
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS='ignore:Editable installation' .venv/bin/python -m pip install --quiet --editable '.[dev]'
	touch .venv/bin/python
