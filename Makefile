# demo, test and bench each do their own set-up. The rest is for people who change the code.

.PHONY: help demo test bench check mutants clean
.DEFAULT_GOAL := help

export PATH := $(PATH):$(HOME)/.cargo/bin
export SQEP_PYTHON ?= $(CURDIR)/.venv/bin/python

# make demo: where the archive goes, and either your files or the size of a generated market.
OUT ?= demo
CSV ?=
DIALECT ?=
SYMBOLS ?=
DAYS ?=

# make bench: sizes in day bars.
BARS ?= 1000000 4000000

# Tests run in the folder of their crate: a relative path is meant from here.
from_here = $(if $(filter /%,$(1)),$(1),$(CURDIR)/$(1))
ifneq ($(SQEP_DATA),)
override export SQEP_DATA := $(call from_here,$(SQEP_DATA))
endif
ifneq ($(SQEP_GOLDEN),)
override export SQEP_GOLDEN := $(call from_here,$(SQEP_GOLDEN))
endif

help:
	@echo 'make demo                              a generated market through Redis into Parquet'
	@echo 'make demo CSV=DIR DIALECT=tushare      your own files; OUT=DIR chooses where to'
	@echo 'make test                              every test; SQEP_DATA=DIR adds those on real files'
	@echo 'make bench BARS="1000000 4000000"      rows/s of each stage, beside pandas and polars'
	@echo 'make check                             format, lints, docs, the core without runtime'
	@echo 'make mutants                           breaks the loops on purpose: the simulation must notice'
	@echo 'make clean                             target, .venv and demo'

demo:
	@testkit/setup.sh demo
	cargo build --release --bins -p sqep-cli -p sqep-csv -p sqep-parquet
	@cargo run --release --quiet -p sqep-cli --bin sqep -- demo --out '$(OUT)' \
		$(if $(CSV),--csv '$(CSV)') $(if $(DIALECT),--dialect '$(DIALECT)') \
		$(if $(SYMBOLS),--symbols '$(SYMBOLS)') $(if $(DAYS),--days '$(DAYS)')

test:
	@testkit/setup.sh test
	cargo build --workspace --bins
	cargo test --workspace

bench:
	@testkit/setup.sh bench
	cargo build --release --bins -p sqep-cli -p sqep-csv -p sqep-parquet
	cargo build --release -p sqep --example codec
	'$(SQEP_PYTHON)' testkit/bench/bench.py --bars $(BARS)

check:
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps
	cargo check -p sqep --no-default-features

mutants:
	@testkit/setup.sh test
	'$(SQEP_PYTHON)' testkit/mutants.py

clean:
	cargo clean
	rm -rf .venv demo
