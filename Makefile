# `make help` lists the targets. Options: ARGS="..." for the command, PYTHON=/path/to/python3.11 for set-up.

BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --quiet

# Two test files at a time; those of whole runs come early, so that neither core waits for the other in the end.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup run test check format bench bench-growth bench-gpu bench-serving bench-gate lock image kubeflow-check clean-env

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make or update the environment in .venv (instant when nothing changed)
	@scripts/setup.sh

run: setup ## Run the pipeline; pass options on with ARGS="--images DIR"
	@$(BIN)/catsdogs run $(ARGS)

test: setup ## Run every test; pick some with ARGS="tests/trainer -k shapes"
	$(PYTEST) $(ARGS)

check: setup ## Check style, types, imports between packages, and run the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck scripts/*.sh .ci/run
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m "not slow and not e2e" $(ARGS)

format: setup ## Put the code into the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Compare with TensorFlow's tutorial on IMAGES=DIR (train and validation); ARGS=--write for docs/benchmarks.md
	@$(BIN)/python -m benchmarks.compare "$(IMAGES)" $(ARGS)

bench-growth: setup ## Measure 3,000 and 30,000 drawn pictures; ARGS=--write for docs/benchmarks.md
	@$(BIN)/python -m benchmarks.growth $(ARGS)

bench-gpu: setup ## Show on a machine with GPUs what they gain, with IMAGES=DIR
	@$(BIN)/python -m benchmarks.hardware "$(IMAGES)" $(ARGS)

bench-serving: setup ## Measure the local server; ARGS="--model-dir DIR" for another model than the one pushed here
	@$(BIN)/python -m benchmarks.serving $(ARGS)

bench-gate: setup ## Simulate the gate's verdict: equal models refused, worse ones found; ARGS=--write for docs/gate.md
	@$(BIN)/python -m benchmarks.gate $(ARGS)

lock: setup ## Pin anew what pyproject.toml allows; newest versions with ARGS=--upgrade
	$(LOCK) pyproject.toml --extra weights --extra dev --group setup --output-file requirements/project.txt $(ARGS)
	$(LOCK) pyproject.toml --extra weights --constraint requirements/project.txt --output-file requirements/image.txt
	echo 'tensorflow[and-cuda]' | $(LOCK) - --constraint requirements/image.txt --output-file requirements/gpu.txt
	$(LOCK) --group setup --constraint requirements/project.txt --output-file requirements/setup.txt

image: setup ## Build the images for Kubeflow; ARGS=cpu for one, IMAGE=registry/name PUSH=1 to push them
	@scripts/image.sh $(ARGS)

kubeflow-check: setup ## Run every step of the compiled pipeline in its container, here, with podman
	@$(BIN)/python -m scripts.kubeflow_check $(ARGS)

clean-env: ## Remove the environment
	rm -rf .venv
