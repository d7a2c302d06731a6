# Every target makes and fills .venv by itself: Python 3.11 or newer, pip and make are all that a machine needs.
PYTHON ?= python3
# Threads that spin while they wait make training ten times slower on a shared machine.
export OMP_WAIT_POLICY ?= PASSIVE

BIN := .venv/bin
INSTALLED := .venv/.installed
EXAMPLE := demo/fire

.PHONY: help demo example test browser lint bench examples

help:
	@echo 'make demo      open the page: play, train, score by clicking (http://127.0.0.1:7860; ARGS="--port 8000")'
	@echo 'make example   learn fire from examples/fire.mp4 and draw new fire (1 to 3 minutes on two cores)'
	@echo 'make test      all tests; some of them: make test ARGS="-m \"not slow\""'
	@echo 'make lint      ruff check, ruff format --check, mypy'
	@echo 'make bench     speed, memory and scaling, into benchmarks/results/; to try it: make bench ARGS=--quick'
	@echo 'make examples  render the clips in examples/ again (a quarter of an hour); one of them: make examples ARGS=fire'

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "dtsgan needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) --version 2>&1):" \
			"name another with make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -e '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/dtsgan ui $(ARGS)

# A stopped example goes on where it was, a finished one is drawn from again; nothing is removed or trained over.
example: $(INSTALLED)
	@set -e; began=$$(date +%s); \
	if grep -qs '"state": "done"' $(EXAMPLE)/status.json; then \
		echo "$(EXAMPLE) is trained already"; \
	elif [ -e $(EXAMPLE)/config.json ]; then \
		$(BIN)/dtsgan train --resume $(EXAMPLE); \
	else \
		echo "learning examples/fire.mp4: 1 to 3 minutes on two cores"; \
		$(BIN)/dtsgan train examples/fire.mp4 --out $(EXAMPLE); \
	fi; \
	cp $(EXAMPLE)/model/preview.mp4 $(EXAMPLE).mp4; \
	$(BIN)/dtsgan sample $(EXAMPLE) --seconds 10 --seed 1 --out $(EXAMPLE)_new.mp4; \
	echo "$(EXAMPLE).mp4      the source (left) beside new fire (right)"; \
	echo "$(EXAMPLE)_new.mp4  ten seconds of new fire"; \
	echo "done in $$(( $$(date +%s) - began )) seconds; more: $(BIN)/dtsgan sample $(EXAMPLE) --seed 2 --out more.mp4"

# The page's tests want a browser: Debian's, where this user may install it; elsewhere they say why they are skipped.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || [ "$$(id -u)" != 0 ] \
		|| ! command -v apt-get >/dev/null || { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; } \
		>/dev/null 2>&1 || echo "chromium could not be installed: the browser tests will be skipped" >&2

test: $(INSTALLED) browser
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/sampling.py $(ARGS)
	$(BIN)/python benchmarks/training.py $(ARGS)
	$(BIN)/python benchmarks/scaling.py $(ARGS)
	$(BIN)/python benchmarks/loading.py $(ARGS)
	$(BIN)/python benchmarks/serving.py $(ARGS)

examples: $(INSTALLED)
	$(BIN)/python examples/render.py $(ARGS)
