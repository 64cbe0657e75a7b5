# The list of verbs. Everything a verb needs it installs or fetches itself, on Debian 12 with Rust.

SHELL := /bin/bash
SCRIPTS := $(filter-out %.md %/unsteady,$(wildcard tests/vm/*)) tests/kind/run tests/kind/ask tests/kind/hold image/entry image/unpack image/go-runner .ci/run

.NOTPARALLEL:
.PHONY: help build fmt lint test test-it test-vm kind demo bench bench-vm deny image doc ci clean tools

help:           ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

build: tools    ## the binary, optimised: target/release/ipvs-proxy
	cargo build --release

fmt:            ## format the source
	cargo fmt --all

lint: tools     ## formatting, clippy, docs and scripts; any warning is an error
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo clippy --workspace $(NAMED:%=--test %) -- --deny warnings
	cargo clippy $(CODECS:%=--package %) --no-default-features -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps $(AS_TESTED)
	tests/vm/packages lint && shellcheck $(SCRIPTS)
	tests/kind/run --check

# Tests that run only when named, which all targets do not include.
NAMED := netns kind image kernel
# Crates that are codecs without their feature `socket`.
CODECS := netlink-batch ipvs-netlink ipset-netlink conntrack-netlink
# Asking for examples makes cargo choose the features of dependencies as it does for tests, so
# that no second set of dependencies is compiled.
AS_TESTED := --lib --examples

test: tools     ## every test there is; the last line is the count
	@tests/vm/tally '$(UNPRIVILEGED)' 'tests/vm/run --' tests/vm/guard

test-it: tools  ## the tests that need no rights and no kernel
	@tests/vm/tally '$(UNPRIVILEGED)'

test-vm: tools  ## the tests that need a kernel with IPVS, in the lab
	@tests/vm/tally 'tests/vm/run --' tests/vm/guard

UNPRIVILEGED := cargo test --workspace --no-fail-fast -- --show-output

kind:           ## the packet cases in a cluster of kind; without Docker what can be checked without one
	@tests/kind/run

demo: tools     ## a Service, three backends, a real kernel: watch requests being spread
	@tests/vm/demo

bench: tools    ## the benchmarks that need no kernel
	cargo bench --workspace

bench-vm: tools ## what the proxy costs on a real kernel, beside what the kernel needs
	@tests/vm/bench

deny: tools     ## licences, bans and sources of dependencies; installs cargo-deny
	@cargo deny --version >/dev/null 2>&1 || $(UNOPTIMISED) cargo install --locked --debug cargo-deny@0.20.2
	cargo deny check licenses bans sources

# It runs for two seconds; its own profile would have it optimised across crates for minutes.
UNOPTIMISED := CARGO_PROFILE_DEV_DEBUG=false CARGO_INCREMENTAL=0

image: tools    ## the image as an unpacked root, from the Containerfile without Docker, and its tests; needs root
	@tests/vm/packages image
	cargo test --test image

doc:            ## the documentation of every crate: target/doc
	cargo doc --workspace --no-deps

ci: lint deny image test   ## what a change must pass

clean:          ## everything that was built or fetched
	cargo clean
	rm -rf target/vm

tools:
	@tests/vm/packages build
