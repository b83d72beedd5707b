# Every target does its own set-up: it needs only Python (3.11 to 3.13), pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo
REPRODUCED ?= out/reproduce
# What test-newest runs on: versions that uv finds or fetches, or paths of interpreters.
PYTHONS ?= 3.12 3.13

.PHONY: demo docs reproduce test test-lowest test-newest test-all lock clean

# From a video file, which the model never saw, to a picture of which frames made it say what it said.
demo: $(VENV)/demo.done
	$(BIN)/python -m experiments.make_videos --out=$(OUT)/videos --split=test --class_name="Covering something with something"
	$(BIN)/python -m experiments.explain_video --video=$(OUT)/videos/videos/000008.webm --out=$(OUT) \
	  --class_name="Uncovering something by taking away something"

# RESULTS.md and its pictures from nothing: makes the clips, trains, explains, analyses. Goes on where it was stopped.
reproduce: $(VENV)/reproduce.done
	$(BIN)/python -m experiments.reproduce --out=$(REPRODUCED)

# The documentation as a site in out/site, warnings being errors; open out/site/index.html.
docs: $(VENV)/docs.done
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Lint, types and tests.
test: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and 'error: Python 3.11 to 3.13 is needed, found ' + sys.version.split()[0])"
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.done: $(BIN)/python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[video,plots]"
	touch $@

$(VENV)/reproduce.done: $(BIN)/python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[video,plots,io]"
	touch $@ $(VENV)/demo.done

$(VENV)/dev.done: $(BIN)/python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[video,plots,io,dev]"
	touch $@ $(VENV)/demo.done

$(VENV)/docs.done: $(BIN)/python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[video,plots,io,docs]"
	touch $@ $(VENV)/demo.done

# The tests on every Python and with the lowest and the newest versions of packages: about 25 minutes.
test-all: test test-lowest test-newest

# With the lowest versions that pyproject.toml allows, on the lowest Python.
test-lowest: $(VENV)/dev.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv venv --quiet --clear --python 3.11 $(VENV)-lowest
	$(BIN)/uv pip install --quiet --python $(VENV)-lowest/bin/python --resolution lowest-direct \
	  -r pyproject.toml --extra video --extra plots --extra io --extra dev
	$(VENV)-lowest/bin/python -m pytest -n 2

# With the newest versions, on the newer Pythons.
test-newest: $(VENV)/dev.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	for python in $(PYTHONS); do \
	  $(BIN)/uv venv --quiet --clear --python $$python $(VENV)-newest && \
	  $(BIN)/uv pip install --quiet --python $(VENV)-newest/bin/python \
	    -r pyproject.toml --extra video --extra plots --extra io --extra dev && \
	  $(VENV)-newest/bin/python -m pytest -n 2 || exit 1; \
	done

# Pins what demo, docs and test install, for all supported Pythons; run after a change of the dependencies.
lock: $(VENV)/dev.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra video --extra plots --extra io --extra docs --extra dev --upgrade --no-header --no-annotate \
	  pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-newest $(OUT) build
