# `make help` lists the targets. Options: ARGS="..." passes options to the command, PYTHON=/path/to/python3.11 selects the interpreter.

BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --quiet

# Two test files at a time, full pipeline runs first, so that both cores finish at about the same time.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup run test faults check format bench bench-growth bench-gpu bench-serving bench-gate lock base-images image kubeflow-check clean-env

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Create or update the environment in .venv (instant if nothing changed)
	@scripts/setup.sh

run: setup ## Run the pipeline; ARGS="--images DIR" passes options
	@$(BIN)/catsdogs run $(ARGS)

test: setup ## Run all tests; ARGS="tests/trainer -k shapes" selects some
	$(PYTEST) $(ARGS)
	$(if $(ARGS),,$(BIN)/pytest -m flink)

faults: setup ## Run all tests of faults (kills, full disks, damaged files, load); ARGS="-k disk" selects some
	$(PYTEST) -m "faults or not faults" tests/faults $(ARGS)

check: setup ## Check style, types and import rules, and run the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck scripts/*.sh .ci/run
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m "not slow and not e2e and not faults and not flink" $(ARGS)

format: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Compare with TensorFlow's tutorial on IMAGES=DIR (train/, validation/); ARGS=--write updates docs/benchmarks.md
	@$(BIN)/python -m benchmarks.compare "$(IMAGES)" $(ARGS)

bench-growth: setup ## Measure the Beam steps on 3,000 to 100,000 images derived from IMAGES=DIR; ARGS=--write updates docs/benchmarks.md
	@$(BIN)/python -m benchmarks.growth $(if $(IMAGES),"$(IMAGES)") $(ARGS)

bench-gpu: setup ## Measure the speed-up from this machine's GPUs on IMAGES=DIR
	@$(BIN)/python -m benchmarks.hardware "$(IMAGES)" $(ARGS)

bench-serving: setup ## Measure the local server; ARGS="--model-dir DIR" selects the model (default: the last pushed one)
	@$(BIN)/python -m benchmarks.serving $(ARGS)

bench-gate: setup ## Simulate the error rates of the quality gate; ARGS=--write updates docs/gate.md
	@$(BIN)/python -m benchmarks.gate $(ARGS)

lock: setup ## Update the pins from pyproject.toml; ARGS=--upgrade moves to the newest versions
	$(LOCK) pyproject.toml --extra weights --extra dev --group setup --output-file requirements/project.txt $(ARGS)
	$(LOCK) pyproject.toml --extra weights --constraint requirements/project.txt --output-file requirements/image.txt
	echo 'tensorflow[and-cuda]' | $(LOCK) - --constraint requirements/image.txt --output-file requirements/gpu.txt
	$(LOCK) --group setup --constraint requirements/project.txt --output-file requirements/setup.txt

base-images: ## Pin the container images' base images to the newest digests of their tags
	@scripts/base_images.sh

image: setup ## Build the container images for Kubeflow; ARGS=cpu builds one, IMAGE=registry/name PUSH=1 pushes them
	@scripts/image.sh $(ARGS)

kubeflow-check: setup ## Run every task of the compiled pipeline in its container with podman, and Beam steps on Flink
	@$(BIN)/python -m scripts.kubeflow_check $(ARGS)

clean-env: ## Remove the environment
	rm -rf .venv
