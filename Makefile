# Every command of the project. A virtual environment in .venv is made when first needed; set PYTHON to use another.
PYTHON ?= .venv/bin/python
AAKIT = $(PYTHON) -m aaclip_kit

.PHONY: run test lint docs bench fuzz audit clean

run: $(PYTHON)
	$(AAKIT) run experiments/feedback.toml

# As many processes as there are cores, up to four, with a thread each: most of the time is one core's anyway.
test: $(PYTHON)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n logical --maxprocesses 4

lint: $(PYTHON)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy aaclip_kit plugins tools
	$(dir $(PYTHON))lint-imports

# The generated pages, then the site in build/site; a link that leads nowhere is an error.
docs: $(PYTHON)
	$(PYTHON) docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

bench: $(PYTHON)
	$(PYTHON) benchmarks/bench.py

# The nightly-sized run; `make fuzz CASES=1000` draws fewer.
CASES ?= 24000
fuzz: $(PYTHON)
	AAKIT_FUZZ_CASES=$(CASES) $(PYTHON) -m pytest --timeout 0 tests/fuzz

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
