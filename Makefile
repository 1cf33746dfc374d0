# The ways to work on Gristmill. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Tests and what stands beside them are always built with --workspace: with --package the features of what they need
# would be others, and everything would be compiled a second time.
CARGO ?= cargo
DENY_VERSION ?= 0.20

.PHONY: help
help: ## Lists what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

# Servers that were started by hand, with `make servers`, are used and left running. What did not run, for want of a
# browser, is said at the end.
.PHONY: test
test: ## Runs every test, on a PostgreSQL, a RabbitMQ and a browser that it provides for itself.
	@stop=true; trap 'eval "$$stop"' EXIT; \
	scripts/servers status >/dev/null 2>&1 || stop="scripts/servers stop"; \
	scripts/browser status >/dev/null 2>&1 || stop="$$stop; scripts/browser stop"; \
	scripts/servers start; scripts/browser start; scripts/mail start; \
	eval "$$(scripts/servers env; scripts/browser env; scripts/mail env)"; \
	outcome=0; $(CARGO) test --workspace --no-fail-fast || outcome=$$?; \
	scripts/browser not-run; scripts/mail not-run; exit $$outcome

.PHONY: browser
browser: ## Runs the tests of the pages in a real browser alone, and axe-core over each page (FILTER=).
	@stop=''; trap 'eval "$$stop"' EXIT; \
	scripts/browser status >/dev/null 2>&1 || stop='scripts/browser stop'; \
	scripts/browser start; \
	eval "$$(scripts/browser env)"; \
	outcome=0; $(CARGO) test --workspace --test browser -- $${FILTER:-} || outcome=$$?; \
	scripts/browser not-run; exit $$outcome

# SQLite in memory where there is such a folder: what a comparison commits need not last.
.PHONY: compare
compare: ## Compares both databases with the model, by random operations (SEQUENCES=10000 SEED=1).
	@scripts/servers status >/dev/null 2>&1 || trap 'scripts/servers stop' EXIT; \
	scripts/servers start; \
	eval "$$(scripts/servers env)"; \
	if [ -d /dev/shm ]; then export TMPDIR=/dev/shm; fi; \
	GRISTMILL_TEST_SEQUENCES=$${SEQUENCES:-10000} GRISTMILL_TEST_SEED=$${SEED:-1} \
		$(CARGO) test --profile campaign --workspace --test compare -- --nocapture

.PHONY: big
big: ## Runs a batch over a gigabyte and measures its memory (INPUT_MB=1000).
	$(CARGO) build --release --package gristmill
	GRISTMILL_TEST_INPUT_MB=$${INPUT_MB:-1000} GRISTMILL_TEST_PROGRAM=$(CURDIR)/target/release/gristmill \
		$(CARGO) test --workspace --test memory -- --nocapture

.PHONY: model
model: ## Explores every state of the model of the state machine (BOUNDS=full, or one of them: 1, 2, 3): 2 GB of memory.
	@GRISTMILL_TEST_MODEL=$${BOUNDS:-full} $(CARGO) test --profile campaign --workspace --test model -- --nocapture --test-threads=1 \
		| tee /dev/stderr 2>&1 | grep '^model: [0-9]' | paste -sd ';' | sed 's/; *model: /; /g'

# A failure prints its seed and the command that repeats it. The processes are real: they do not interleave twice in
# the same way, so that a seed may have to be run a few times.
# Where servers are struck, schedules go on until each blow was dealt BLOWS times.
# ONLY is one of l2, l3, l4, sqlite; or of those that start servers of their own: disk (which takes root), standby, nodes.
.PHONY: faults
faults: ## Runs the fault campaign (SCHEDULES=25 SEED=1 ONLY= AT_ONCE=6 BLOWS=0).
	@scripts/servers status >/dev/null 2>&1 || trap 'scripts/servers stop' EXIT; \
	scripts/servers start; \
	eval "$$(scripts/servers env)"; \
	$(CARGO) build --quiet --profile campaign --workspace --features gristmill-campaign/failpoints --bin faults \
		--bin gristmill-failpoints --test tidy; \
	folder=$${CARGO_TARGET_DIR:-target}/campaign; \
	GRISTMILL_CAMPAIGN_PROGRAM=$$(realpath "$$folder")/gristmill-failpoints \
		$$folder/faults --schedules $${SCHEDULES:-25} --seed $${SEED:-1} --only "$${ONLY:-}" --at-once $${AT_ONCE:-6} --blows $${BLOWS:-0}

.PHONY: recovery
recovery: ## Measures how long it takes to get over deaths, outages and losses (TIMES=20 SEED=1).
	@$(MAKE) --no-print-directory faults ONLY=recovery SCHEDULES=$${TIMES:-20}

.PHONY: soak
soak: ## Works off a backlog under a killer, beside a consumer at 1 % of its speed (JOBS=1000000).
	@$(MAKE) --no-print-directory faults ONLY=soak SCHEDULES=$${JOBS:-1000000}

.PHONY: fuzz
fuzz: ## Feeds hostile input to all that reads any (RUNS=1000000 SEED=1).
	@scripts/servers status >/dev/null 2>&1 || trap 'scripts/servers stop' EXIT; \
	scripts/servers start; \
	eval "$$(scripts/servers env)"; \
	if [ -d /dev/shm ]; then export TMPDIR=/dev/shm; fi; \
	GRISTMILL_TEST_FUZZ_RUNS=$${RUNS:-1000000} GRISTMILL_TEST_FUZZ_SEED=$${SEED:-1} \
		$(CARGO) test --profile campaign --workspace --test fuzz -- --nocapture --test-threads=1 \
		| tee /dev/stderr 2>&1 | grep -o 'fuzz: .*' | paste -sd ';' | sed 's/;fuzz: /; /g'

# On the loopback: slow and broken connections, forged deliveries, links and races in watched folders, hostile names,
# texts and mail, and PgBouncer where there is one. A failure prints its seed.
.PHONY: attack
attack: ## Attacks what is reached from outside, while honest work goes on (RUNS=10000 SEED=1).
	@scripts/servers status >/dev/null 2>&1 || trap 'scripts/servers stop' EXIT; \
	scripts/servers start; \
	eval "$$(scripts/servers env)"; \
	export GRISTMILL_TEST_ATTACK_RUNS=$${RUNS:-10000} GRISTMILL_TEST_ATTACK_SEED=$${SEED:-1}; \
	$(CARGO) test --profile campaign --workspace --test attack -- --nocapture --test-threads=1 \
		| tee /dev/stderr 2>&1 | grep -o 'attack: .*' | paste -sd ';' | sed 's/;attack: /; /g'

.PHONY: contract
contract: ## Holds the API against its own description, with Schemathesis from PyPI (CASES=100 SEED=1).
	scripts/contract $${CASES:-100} $${SEED:-1}

.PHONY: load
load: ## Measures the API under load with wrk: lists, enqueueing, idle connections, restarts (ROWS=1000000 SECONDS_EACH=30 IDLE=10000).
	@scripts/load $${ROWS:-1000000} $${SECONDS_EACH:-30} $${IDLE:-10000}

.PHONY: clients
clients: ## Makes clients out of the API's description, in Python and TypeScript, and asks a real server with them.
	scripts/clients

.PHONY: simulate
simulate: ## Runs seeds of the simulation (SEEDS=100000 SEED=1); with SEEDS=1 it prints what happens.
	@GRISTMILL_SIMULATE_SEEDS=$${SEEDS:-2000} GRISTMILL_SIMULATE_SEED=$${SEED:-1} \
		$(CARGO) test --profile campaign --workspace --test simulate -- every_seed_keeps_every_promise --nocapture

.PHONY: schedules
schedules: ## Measures how late ticks start: 10,000 schedules, 1,000 of them on one instant.
	@scripts/servers status >/dev/null 2>&1 || trap 'scripts/servers stop' EXIT; \
	scripts/servers start; \
	eval "$$(scripts/servers env)"; \
	$(CARGO) run --release --package gristmill-scheduler --example schedules -- 10000 1000

# SETUP is a list: SETUP=sqlite,postgres. With --workspace, as all that stands beside the tests.
.PHONY: pages
pages: ## Measures how long each page of the dashboard takes over a long history (JOBS=2000000 SETUP=sqlite,postgres TIMES=40).
	@export GRISTMILL_SERVERS=pages GRISTMILL_SERVERS_WAL_MB=1024; \
	scripts/servers status >/dev/null 2>&1 || trap 'scripts/servers stop' EXIT; \
	scripts/servers start; \
	eval "$$(scripts/servers env)"; \
	$(CARGO) build --quiet --release --workspace --example pages; \
	$${CARGO_TARGET_DIR:-target}/release/examples/pages $${JOBS:-2000000} $${SETUP:-sqlite,postgres} $${TIMES:-40}

# Servers of its own, with PostgreSQL's own settings: those of the tests keep less of the log. The program is built
# apart from the peer, so that it has exactly the features that it is shipped with.
# ONLY and SETUP are lists: ONLY=enqueue,single,drain,latency,batch,idle,scale SETUP=sqlite,postgres,rabbitmq.
.PHONY: bench
bench: ## Measures Gristmill beside raw limits and a peer (ROUNDS=5 JOBS=20000 ONLY= SETUP= HISTORY=0).
	@$(CARGO) build --quiet --release --package gristmill-bench --features run; \
	$(CARGO) build --quiet --release --package gristmill-bench --features peer --bin gristmill-bench-peer \
		|| echo "bench: the peer could not be built: its column stays empty" >&2; \
	export GRISTMILL_SERVERS=bench GRISTMILL_SERVERS_WAL_MB=1024; \
	scripts/servers status >/dev/null 2>&1 || trap 'scripts/servers stop' EXIT; \
	scripts/servers start; \
	eval "$$(scripts/servers env)"; \
	export BENCH_RABBITMQ=$$(scripts/servers rabbitmqctl version 2>/dev/null | tail -n 1 || echo unknown); \
	ROUNDS="$${ROUNDS:-}" JOBS="$${JOBS:-}" ONLY="$${ONLY:-}" SETUP="$${SETUP:-}" HISTORY="$${HISTORY:-}" \
		$${CARGO_TARGET_DIR:-target}/release/gristmill-bench

.PHONY: bench-mail
bench-mail: ## Measures mail with state, DKIM and template beside smtp-source on one sink (MESSAGES=5000 CONNECTIONS=8 BYTES=4096 ROUNDS=3).
	@$(CARGO) build --quiet --release --bin gristmill; \
	GRISTMILL="$$(pwd)/$${CARGO_TARGET_DIR:-target}/release/gristmill" scripts/mail_speed

# Python 3; polars and DuckDB from PyPI where they can be had.
.PHONY: rows
rows: ## Measures a batch over invoice lines beside a pass by hand, Python and dataframes (ROWS=1000000 ROUNDS=3 SEED=1).
	$(CARGO) build --quiet --release --package gristmill --package gristmill-bench --bin gristmill --bin gristmill-bench-rows
	scripts/rows --rows $${ROWS:-1000000} --rounds $${ROUNDS:-3} --seed $${SEED:-1}

.PHONY: bench-micro
bench-micro: ## Measures single functions: settle, merge, parse, choose and the like (FILTER=).
	$(CARGO) bench --package gristmill-bench --features micro --bench micro -- $${FILTER:-}

.PHONY: check
check: fmt-check clippy docs deny test ## What must pass before a change goes in.

.PHONY: fmt
fmt: ## Formats the code.
	$(CARGO) fmt --all

.PHONY: fmt-check
fmt-check: ## Says what is not formatted.
	$(CARGO) fmt --all --check

.PHONY: clippy
clippy: ## Lints everything; a warning is an error.
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: docs
docs: ## Builds the documentation, private items too and linked to; a warning is an error.
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --workspace --no-deps --document-private-items

.PHONY: deny
deny: ## Checks licences, sources and banned crates, and advisories if their list can be fetched.
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny --version '^$(DENY_VERSION)'
	$(CARGO) deny check bans licenses sources
	@if $(CARGO) deny fetch db; then \
		$(CARGO) deny check advisories; \
	else \
		echo 'deny: the advisory list could NOT be fetched: advisories are not checked' >&2; \
	fi

.PHONY: demo
demo: ## Runs the demo: 100,000 orders, on one program and one file.
	$(CARGO) run --release -- demo

.PHONY: servers
servers: ## Starts the test servers and the browser and leaves them running; prints how to use them.
	@scripts/servers start
	@scripts/browser start
	@scripts/servers env
	@scripts/browser env

.PHONY: clean-servers
clean-servers: ## Stops the test servers and deletes their data.
	@scripts/servers stop
	@scripts/browser stop
