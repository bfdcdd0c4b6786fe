# make build: install missing packages and build the daemon.
# make run: build, and run the daemon with its default configuration.
# make test: install missing packages and run every test that this host can run.
# make fuzz: run each fuzz target for FUZZ_SECONDS (60), one target per CPU at a time.
# make fuzz-seeds: recreate the seeds of the fuzz targets with real clients and a real kernel.
# make assets: write man pages and completions for bash, zsh and fish to target/assets.
# make deb, make rpm: build a package in target/package.
# make test-packages: check the contents of the packages, and that builds are reproducible.
# make test-systemd: test the packages with a real systemd in a virtual machine: install, upgrade and
#   remove them, and start, reload and restart the service.
# make bench: compare the daemon with other tools for BENCH_SECONDS (420), as root; writes
#   docs/benchmarks.md and docs/benchmarks.svg.
# make bench-fleet: measure the cost of 200 hosts for Prometheus; takes three minutes and
#   writes docs/fleet.md.
# make bench-attacks: measure scrapes during attacks on the endpoint; takes some minutes and writes
#   docs/reliability.md.
# make soak: run the daemon on a busy host for SOAK_MINUTES (60), as root; writes
#   docs/reliability.md and docs/soak.svg.
# make charts: draw the charts of the documentation again from docs/data, without measuring.
# make pictures: draw the pictures of the documentation from a real daemon; takes a few
#   minutes.
# make test-vm: run the tests that need a real kernel in virtual machines with kernels from 5.10 on.
# make test-vm-arm64: check exact counts in virtual machines with arm64 kernels, with a
#   cross-compiled daemon.
#   Not part of CI; unpacks 2.2 GB of Debian packages below target/.

BIN := target/release/execsnoopd
EXPERIMENT := cargo run --release --package experiments --bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: build run test fuzz fuzz-seeds assets deb rpm test-packages test-systemd bench \
	bench-fleet bench-attacks bench-peers soak charts pictures test-vm test-vm-arm64

# Targets do not run in parallel, because both packages are staged in the same directory.
.NOTPARALLEL:

build:
	./.ci/install build
	cargo build --release

run: build
	@echo
	@echo "Page: http://127.0.0.1:10190/  Metrics: http://127.0.0.1:10190/metrics  (Ctrl-C stops)"
	@echo
	$(SUDO) $(BIN) --config /dev/null

test:
	./.ci/install test
	./.ci/test

fuzz:
	./.ci/install fuzz
	./fuzz/run

fuzz-seeds:
	./.ci/install seeds
	$(SUDO) ./fuzz/make-seeds

assets:
	./.ci/install build
	cargo run --features assets --bin assets -- target/assets

deb rpm:
	./.ci/install package
	./packaging/build $@

test-packages:
	./.ci/install package
	./packaging/test

test-systemd:
	./.ci/install vm
	./.ci/install package
	./tests/vm/systemd

# `cargo bench` builds the daemon with the features of its dev-dependencies, so it is built again
# afterwards.
bench:
	./.ci/install bench
	cargo bench --bench pipeline
	cargo build --release
	$(EXPERIMENT) system
	./docs/pictures/charts.py benchmarks

bench-fleet:
	./.ci/install test
	PATH="$$PATH:$$PWD/target/tools/usr/bin" $(EXPERIMENT) fleet

bench-attacks: build
	./.ci/install test
	. ./.ci/as-root && run_tests_as_root && $(EXPERIMENT) attacks

# The former name of bench-attacks.
bench-peers: bench-attacks

soak: build
	./.ci/install soak
	PATH="$$PATH:$$PWD/target/tools/usr/bin" $(EXPERIMENT) soak; \
	status=$$?; ./docs/pictures/charts.py soak; exit $$status

charts:
	./.ci/install charts
	./docs/pictures/charts.py

pictures: build
	./.ci/install pictures
	$(SUDO) ./docs/pictures/make

test-vm:
	./.ci/install vm
	./tests/vm/run

test-vm-arm64:
	./.ci/install vm
	ARCH=arm64 ./tests/vm/run
