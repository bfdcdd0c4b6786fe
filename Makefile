# make run: install what is missing, build, run the daemon on its built-in defaults.
# make test: install what is missing, run every test that this host can run.
# make fuzz: run each fuzz target for FUZZ_SECONDS (60), as many at a time as there are CPUs.
# make fuzz-seeds: what they begin with, of real clients and a real kernel, made again.
# make assets: man pages and the completions of bash, zsh and fish, in target/assets.
# make deb, make rpm: packages, in target/package.
# make test-packages: what is in them, and that they are the same when built again.
# make test-systemd: the deb on a real systemd, in a guest: installing, upgrading, removing, and
#   the service from its start to its restarts.
# make bench-fleet: what 200 hosts cost their Prometheus; three minutes, writes docs/fleet.md.
# make bench-peers: what peers that mean no good cost who scrapes; two minutes, writes
#   docs/reliability.md.
# make soak: the daemon on a busy host for SOAK_MINUTES (60), as root; writes docs/reliability.md
#   and docs/soak.svg.
# make charts: the charts of the documentation, drawn again from the figures in docs/data.
# make pictures: the pictures of the documentation, from a real daemon; some minutes.
# make test-vm: the tests that need a real kernel, on kernels from 5.10 on, in guests.
# make test-vm-arm64: exact counts on arm64 kernels, in guests, by a daemon cross-compiled for
#   them. Not part of CI; unpacks 2.2 GB of Debian packages below target/.

BIN := target/release/execsnoopd
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: build run test fuzz fuzz-seeds assets deb rpm test-packages test-systemd bench \
	bench-fleet bench-peers soak charts pictures test-vm test-vm-arm64

# Both packages are staged in the same place.
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

bench:
	./.ci/install bench
	cargo bench --bench pipeline
	cargo bench --bench system
	./docs/pictures/charts.py benchmarks

bench-fleet:
	./.ci/install test
	PATH="$$PATH:$$PWD/target/tools/usr/bin" cargo bench --bench fleet

bench-peers:
	./.ci/install test
	. ./.ci/as-root && run_tests_as_root && cargo bench --bench peers

soak:
	./.ci/install soak
	PATH="$$PATH:$$PWD/target/tools/usr/bin" cargo bench --bench soak; \
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
