# make run: install what is missing, build, run the daemon on its built-in defaults.
# make test: install what is missing, run every test that this host can run.

BIN := target/release/execsnoopd
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: build run test bench

build:
	./.ci/install build
	cargo build --release

run: build
	@echo
	@echo "Metrics: http://127.0.0.1:10190/metrics (Ctrl-C stops)"
	@echo
	$(SUDO) $(BIN)

test:
	./.ci/install test
	./.ci/test

bench:
	./.ci/install bench
	cargo bench --bench pipeline
	cargo bench --bench system
