# Everything runs in .venv, made from requirements.lock. SHARED footage is optional: tests that need it say so.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test soak check bench evaluate train-small lock clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/anonymizer demo $(if $(SOURCE),--source "$(SOURCE)")

# What runs in real time has the machine for itself; the rest shares it.
test: setup
	$(BIN)/pytest -m "not soak" -n 2 --dist loadscope --ignore=tests/live
	$(BIN)/pytest -m "not soak" tests/live

soak: setup
	$(BIN)/pytest -m soak

check: setup
	$(BIN)/ruff check anonymizer tests models
	$(BIN)/ruff format --check anonymizer tests models
	$(BIN)/mypy
	$(BIN)/yamllint -s rules deploy models .ci

bench: setup
	$(BIN)/python -m tests.bench

# The proof, on the shared footage: about five minutes of CPU time, on two cores. The page, the figures and the redacted
# clips go to .evaluate. SAMPLE= looks at all frames, and tries parrots and linkage on all people.
SHARED ?= ../shared
VIDEO := $(SHARED)/footage/video
SAMPLE ?= --step 5 --frames 100 --most-parrots 30
evaluate: export ANONYMIZER_MODELS ?= $(SHARED)/models
evaluate: setup
	$(BIN)/anonymizer evaluate all $(VIDEO)/street_operahouse_1080p.mp4 $(VIDEO)/people-walking.mp4 \
		$(wildcard $(VIDEO)/asl/*.mkv) $(wildcard $(VIDEO)/liveportrait/*.mp4) --labels $(SHARED)/labels/dev \
		--reference $(SHARED)/models/yunet_n_dynamic.onnx \
		--recogniser omz-0095=$(SHARED)/models/omz_face-reidentification-retail-0095.onnx \
		--recogniser y1=$(SHARED)/attackers/insightface_y1_mobilefacenet.onnx \
		--landmarks $(SHARED)/models/mp_face_landmark_468.onnx --iris $(SHARED)/models/mp_iris_landmark.onnx \
		--people $(SHARED)/footage/identity/lfw_gray_crops --portraits $(SHARED)/faces $(SAMPLE) --out .evaluate

train-small: setup
	$(BIN)/pip install -q --disable-pip-version-check "torch==2.13.0" "onnx>=1.17" "onnxscript>=0.3" "scipy>=1.14"
	$(BIN)/python -m models.training

# Resolve for amd64 and arm64, Python 3.11 and newer; the second one, for images, without what only development needs.
lock:
	uv pip compile -q pyproject.toml --group dev --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --no-annotate --no-header -o requirements.lock
	uv pip compile -q pyproject.toml --group build --extra calendars --extra c2pa --extra timestamp \
		--constraint requirements.lock --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --no-annotate --no-header -o deploy/requirements.lock

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .bench .evaluate
