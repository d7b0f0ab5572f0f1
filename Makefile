# Needs only make and Python 3.11 or newer; everything else goes into .venv, from pyproject.toml.
# `make help` lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# Where the package is installed compiled, beside all that tests and benchmarks need.
COMPILED := build/compiled
# What npm writes at the end, about what it installed.
NODE_MODULES := examples/bot/node/node_modules/.package-lock.json
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Another interpreter: make test PYTHON=/path/to/python3.13
PYTHON ?=
SOURCES := $(shell find src -name '*.py')
NAME ?= alice
ROOM ?= lobby
TO ?= bob
ARGS ?=
# Two workers by default, as on CI. In one process, to use a debugger: make test WORKERS=0
WORKERS ?= 2
FUZZ_INPUTS ?= 1000000
# The benchmark of the package as it is, where no compiler is: make bench INTERPRETED=1
INTERPRETED ?=
BENCH := $(if $(INTERPRETED),$(VENV)/.test,$(COMPILED)/.whisperkit)

.PHONY: help demo lab test test-compiled check lint types typing contracts serve doctor chat bot bot-node fastapi fastapi-talk django django-talk socketio socketio-talk docs fuzz interop bench bench-peers bench-ratchet bench-imports clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'

demo: $(VENV)/.examples  ## play the story, every claim checked (ARGS="--fast" for a short one)
	@$(BIN)/python -m examples demo $(ARGS)

lab: $(VENV)/.lab  ## two phones and the server between them, in a browser: every fault is a button
	@$(BIN)/python -m examples lab $(ARGS)

serve: $(VENV)/.examples  ## run the reference server
	@$(BIN)/python -m examples serve $(ARGS)

doctor: $(VENV)/.examples  ## find out what would keep the server and the clients from running
	@$(BIN)/python -m examples doctor $(ARGS)

chat: $(VENV)/.examples  ## chat on the whole screen: make chat NAME=alice (ARGS=--plain: lines, for pipes and screen readers)
	@$(BIN)/python -m examples chat $(NAME) $(ARGS)

bot: $(VENV)/.examples  ## run a bot, and the reference server with it (ARGS="--greet alice": it writes first)
	@$(BIN)/python -m examples bot pingbot --serve $(ARGS)

bot-node: $(NODE_MODULES)  ## chat with it from Node.js, on the official Signal library: make bot-node NAME=alice
	@$$($(BIN)/python -m examples.bot.install --where) examples/bot/node/main.mjs $(NAME) pingbot $(ARGS)

fastapi: $(VENV)/.frameworks  ## run a FastAPI back end on PostgreSQL, in two workers
	@$(BIN)/python -m examples.fastapi_postgres $(ARGS)

fastapi-talk: $(VENV)/.frameworks  ## be a person in a room of it: make fastapi-talk NAME=alice ROOM=lobby
	@$(BIN)/python -m examples.fastapi_postgres.talk $(NAME) $(ROOM) $(ARGS)

django: $(VENV)/.frameworks  ## run a Django site with a chat in it, through Channels
	@$(BIN)/python -m examples.django_channels $(ARGS)

django-talk: $(VENV)/.frameworks  ## be a person in a room of it: make django-talk NAME=alice ROOM=lobby
	@$(BIN)/python -m examples.django_channels.talk $(NAME) $(ROOM) $(ARGS)

socketio: $(VENV)/.frameworks  ## run a chat server on python-socketio
	@$(BIN)/python -m examples.socketio_chat $(ARGS)

socketio-talk: $(VENV)/.frameworks  ## chat with somebody on it: make socketio-talk NAME=alice TO=bob
	@$(BIN)/python -m examples.socketio_chat.talk $(NAME) $(TO) $(ARGS)

test: $(VENV)/.test  ## run all tests, with the coverage gate (ARGS="-k cursor --no-cov" for some of them)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov -r fsE $(ARGS)

test-compiled: $(COMPILED)/.whisperkit  ## run the tests of what is compiled on the package as it is compiled
	@$(COMPILED)/bin/python -m pytest tests/sync tests/service tests/stores tests/simulation tests/regressions -n $(WORKERS) --dist worksteal -r fsE $(ARGS)

check: lint types contracts  ## lint, formatting, types and import contracts

lint: $(VENV)/.dev
	@$(BIN)/ruff check .; found=$$?; $(BIN)/ruff format --check . && exit $$found

types: $(VENV)/.dev
	@$(BIN)/mypy & mypy=$$!; $(BIN)/pyright; found=$$?; wait $$mypy && exit $$found

typing: $(VENV)/.dev  ## what mypy, pyright, pyrefly and ty say to users of the installed wheel
	@$(BIN)/python -m tests.typing.check

contracts: $(VENV)/.dev
	@$(BIN)/lint-imports --no-logo

# -E: no cache of documents, because what is read from docstrings is not among their dependencies. The second pass is
# over the documents that the first has just read.
docs: $(VENV)/.docs  ## build docs/_build/html and run the examples in the docs and docstrings
	@$(BIN)/sphinx-build -q -E -n -W --keep-going -d docs/_build/doctrees -b html docs docs/_build/html
	@$(BIN)/sphinx-build -q -n -W --keep-going -d docs/_build/doctrees -b doctest docs docs/_build/doctest
	@echo "docs/_build/html/index.html"

# Plain and fast first; then steered by coverage, a tenth as many; then what Hypothesis makes up, with its own notion of
# what is worth trying, a fiftieth as many.
fuzz: $(VENV)/.fuzz  ## feed everything that reads bytes FUZZ_INPUTS random and damaged inputs (ARGS="--only frames,spqr")
	@$(BIN)/python -m tests.fuzz.fuzz --inputs $(FUZZ_INPUTS) --workers $(WORKERS) $(ARGS)
	@$(BIN)/python -m tests.fuzz.guided --inputs $$(( $(FUZZ_INPUTS) / 10 )) $(ARGS)
	@WHISPERKIT_FUZZ_INPUTS=$$(( $(FUZZ_INPUTS) / 50 )) $(BIN)/python -m pytest -q -n $(WORKERS) -m fuzz --no-cov --hypothesis-profile=fuzz -o faulthandler_timeout=0

# Where the official library cannot be had, the tests are skipped and say why; on CI, that is a failure.
interop: $(VENV)/.interop  ## talk to the official Signal library, which is installed for it (SEED=n to repeat a run)
	@$(MAKE) --no-print-directory $(NODE_MODULES) || [ -z "$$CI" ]
	@$(BIN)/python -m pytest tests/interop -m interop -n $(WORKERS) -r fsE --durations=5 $(ARGS)

# The server on one core, the load on another; some fifteen minutes, on a machine that does nothing else.
bench: $(BENCH)  ## how fast the server is, beside a bare relay (ARGS="--quick" for a trial, "--profile" for where time goes)
	@$(dir $(BENCH))bin/python -m tests.bench.server --install $(ARGS)

# Debian's packages are installed by root only, and not started as services. A quarter of an hour, as for `bench`.
bench-peers: $(BENCH)  ## how fast ejabberd, prosody and python-socketio are, beside the server and the relay
	@$(dir $(BENCH))bin/python -m tests.bench.server --peers --install $(ARGS)

# The peers of the group `bench` are installed one by one: of one that cannot be had it says why, and goes on.
bench-ratchet: $(VENV)/.examples  ## how fast the ratchet is, beside others (ARGS="--quick" for a trial, "--profile" for where time goes)
	@$(BIN)/python -m tests.bench.ratchet --install $(ARGS)

bench-imports: $(VENV)/.examples  ## how long the imports take (ARGS="--parts whisperkit.ratchet" for what is in them)
	@$(BIN)/python -m tests.bench.imports $(ARGS)

clean:  ## remove the virtual environment and all that was built
	rm -rf $(VENV) examples/bot/node/node_modules build dist docs/_build docs/reference/generated .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- set-up: one stamp per dependency group, older than pyproject.toml when it has to be done again -----------------

$(VENV)/.pip:
	@python=$$(PYTHON='$(PYTHON)' sh .ci/find-python) && \
	if [ ! -x $(BIN)/python ]; then \
	    echo "creating $(VENV) with $$($$python --version)" && \
	    if ! $$python -m venv $(VENV); then \
	        rm -rf $(VENV); \
	        echo "Python could not create a virtual environment with pip in it." >&2; \
	        echo "On Debian and Ubuntu: apt-get install python3-venv, then run make again." >&2; \
	        exit 1; \
	    fi; \
	fi
	@$(PIP) install --quiet --upgrade 'pip>=25.1'  # the first that knows --group
	@touch $@

$(VENV)/.examples $(VENV)/.lab $(VENV)/.frameworks $(VENV)/.test $(VENV)/.fuzz $(VENV)/.node $(VENV)/.interop $(VENV)/.docs $(VENV)/.dev: $(VENV)/.%: $(VENV)/.pip pyproject.toml
	@echo "installing whisperkit and its dependency group $*"
	@$(PIP) install --quiet --editable . --group $*
	@touch $@

$(COMPILED)/.test: $(VENV)/.test
	@rm -rf $(COMPILED) && $(BIN)/python -m venv $(COMPILED)
	@$(COMPILED)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@echo "installing the dependency group test into $(COMPILED)"
	@$(COMPILED)/bin/python -m pip --disable-pip-version-check install --quiet --group test
	@touch $@

# pip builds it out of the sdist, in a temporary folder: what is compiled would hide the source that it lies beside.
$(COMPILED)/.whisperkit: $(COMPILED)/.test $(SOURCES)
	@sh .ci/find-compiler $(COMPILED)/bin/python
	@echo "compiling whisperkit, which takes some minutes"
	@rm -rf $(COMPILED)/sdist && $(BIN)/hatchling build -t sdist -d $(COMPILED)/sdist >/dev/null
	@$(COMPILED)/bin/python -m pip uninstall --quiet --yes whisperkit
	@HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(COMPILED)/bin/python -m pip --disable-pip-version-check install --quiet $(COMPILED)/sdist/*.tar.gz
	@touch $@

# Packages of npm, which looks for them beside the program that asks for them.
$(NODE_MODULES): examples/bot/node/package-lock.json | $(VENV)/.node
	@$(BIN)/python -m examples.bot.install
	@touch $@
