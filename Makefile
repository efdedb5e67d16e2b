# Two commands matter: `make demo` runs the main job, `make test` passes everything.
PYTHON ?= python3
UV ?= $(shell command -v uv 2>/dev/null || echo .venv/bin/uv)
RUN = .venv/bin/
ARGS ?=
# A process that is started from nothing finds its modules compiled, whatever the machine says elsewhere.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo serve test lint format bench install

install: .venv/.installed

# uv itself is fetched into the environment when the machine has none.
.venv/.installed: pyproject.toml uv.lock
	@test -d .venv || $(PYTHON) -m venv .venv
	@command -v $(UV) >/dev/null || .venv/bin/python -m pip install --quiet 'uv>=0.13,<0.14'
	@$(UV) sync --frozen --quiet --inexact
	@touch $@

demo: install
	@$(RUN)conforme demo $(ARGS)

serve: install
	@$(RUN)conforme serve $(ARGS)

lint: install
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)basedpyright --warnings
	$(RUN)lint-imports

format: install
	$(RUN)ruff format .
	$(RUN)ruff check --fix .

# Four workers on two cores: a test that waits for a killed process leaves its core to the others.
test: lint
	$(RUN)pytest -n 4 --dist worksteal $(ARGS)

bench: install
	$(RUN)python -m bench $(ARGS)
