# Two commands for newcomers: `make demo` and `make test`. Both create .venv and install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-export check bench quality clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/tracker demo -o demo

test: check
	$(BIN)/python -m pytest

# Tests that take over ten seconds each: whole real videos, model accuracy, soaks.
test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow

# Training and export need torch, a large download; these tests skip without it.
test-export: $(VENV)/installed-export
	$(BIN)/python -m pytest -m "" tests/exporters

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ..." if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-export: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,export]'
	@touch $@

# Figures of this machine into out/bench/; peers take part where they are installed (bench/README.md).
bench: $(VENV)/installed-dev
	$(BIN)/python -m bench association
	$(BIN)/python -m bench masks
	$(BIN)/python -m bench kernels
	$(BIN)/python -m bench soak

# Tracking quality against recorded floors; with MOT17's detections and truth in DATA against README's figures as well.
DATA ?= ../shared/data
quality: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests/test_quality.py
	@if [ -d "$(DATA)/gt/mot17_train" ]; then \
	$(BIN)/python -m bench quality --detections $(DATA)/detections/mot17_val_half --gt $(DATA)/gt/mot17_train --half second \
		--peers --floors bench/floors.toml -o out/quality.json; \
	else echo "no MOT17 in $(DATA): make quality DATA=FOLDER judges it too"; fi

# README's picture: one frame of the demo's video.
docs/demo.jpg: demo
	$(BIN)/python -c 'import av, cv2; frames = list(av.open("demo/demo.mp4").decode(video=0)); \
	cv2.imwrite("$@", frames[220].to_ndarray(format="bgr24"), [cv2.IMWRITE_JPEG_QUALITY, 88])'

clean:
	rm -rf $(VENV) demo out .pytest_cache .mypy_cache .ruff_cache .hypothesis
