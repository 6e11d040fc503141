# The commands of this project; each also installs what it needs (tools/setup). `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help build demo test pi bench-node bench-growth bench-delivery rebaseline image test-image clean
STEP := @tools/step

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 20

build: ## the binary for this machine: target/release/magpie
	@tools/setup-build
	cargo build --locked --release

demo: ## five simulated nodes and a live view; Ctrl-C ends it
	@tools/setup-build
	@cargo run --locked -- demo

# What fails soonest comes first. Every build and test names the whole workspace and all targets' features, so that the
# dependencies are compiled once; the system tests also start what `build` made: magpie, and QEMU's chips. They show what they counted.
test: ## everything that CI checks
	$(STEP) "set up" tools/setup
	$(STEP) "format" cargo fmt --all --check
	$(STEP) "wire format, read by an independent decoder" python3 tests/wire/check.py
	$(STEP) "licences, sources, who depends on what" tools/check-dependencies
	$(STEP) "Kubernetes manifests" tools/check-manifests
	$(STEP) "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
	$(STEP) "build" cargo build --locked --workspace --all-targets
	$(STEP) "unit tests" cargo test --locked --workspace --lib --bins
	$(STEP) "documentation tests" cargo test --locked --workspace --doc
	$(STEP) "documentation" env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --workspace --no-deps
	$(STEP) "instruction counts" tools/count-instructions
	$(STEP) "the Pi's binary" tools/build-static aarch64 target/pi/magpie
	$(STEP) "system tests" env MAGPIE_PI_BINARY=$(CURDIR)/target/pi/magpie cargo test --locked --workspace --test '*' -- --show-output
	@echo "all checks passed"

pi: ## the Raspberry Pi's binary, static: target/pi/magpie
	@tools/build-static aarch64 target/pi/magpie

rebaseline: ## take this tree's instruction counts as what later ones are compared with
	@tools/count-instructions --rebaseline

bench-node: pi ## what a node costs on this machine, beside plain libp2p: a table, and target/bench/node.json
	@tools/setup-build
	@tools/setup-bench
	@tools/build-static x86_64 target/bench/magpie
	@cargo build --locked --release --package magpie-bench
	@$${CARGO_TARGET_DIR:-target}/release/magpie-bench node

bench-growth: ## latency, delivery, CPU and memory with 2 to 100 nodes: a table, and target/bench/growth.json
	@tools/setup-build
	@cargo build --locked --release --package magpie-bench
	@$${CARGO_TARGET_DIR:-target}/release/magpie-bench growth

bench-delivery: ## catching up, healing, disk and memory: a table, and target/bench/delivery.json
	@tools/setup-build
	@tools/setup-bench
	@tools/build-static x86_64 target/bench/magpie
	@cargo build --locked --release --package magpie-bench
	@$${CARGO_TARGET_DIR:-target}/release/magpie-bench delivery

image: ## the container image for amd64 and arm64: target/magpie.oci.tar
	@tools/build-image target/magpie.oci.tar

test-image: image ## build the image and run it on both machines
	@tools/test-image target/magpie.oci.tar

clean: ## what was built here; what is shared by every clone stays in ~/.cache/magpie
	rm -rf target
