# Every command of the project. A virtual environment in .venv is made when first needed; set PYTHON to use another.
PYTHON ?= .venv/bin/python
AAKIT = $(PYTHON) -m aaclip_kit

.PHONY: run test lint docs bench clean

run: $(PYTHON)
	$(AAKIT) run experiments/feedback.toml

test: $(PYTHON)
	$(PYTHON) -m pytest

lint: $(PYTHON)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy aaclip_kit plugins

docs: $(PYTHON)
	$(PYTHON) docs/generate.py

bench: $(PYTHON)
	$(PYTHON) benchmarks/bench.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python: pyproject.toml
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet --editable '.[dev]'
	touch .venv/bin/python
