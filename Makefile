# demo, test and bench each do their own set-up. The rest is for people who change the code.

.PHONY: help demo test bench soak check mutants install clean
.DEFAULT_GOAL := help

export PATH := $(PATH):$(HOME)/.cargo/bin
export SQEP_PYTHON ?= $(CURDIR)/.venv/bin/python

# Every program; what has a configuration of its own is called sqep-NAME.
CONNECTORS := csv tushare qmt parquet clickhouse features
PROGRAMS := sqep $(addprefix sqep-,$(CONNECTORS))
build_programs = cargo build --release --bins -p sqep-cli $(addprefix -p sqep-,$(CONNECTORS))

# make demo: where the archive goes, and either your files or the size of a generated market.
OUT ?= demo
SOURCE ?=
SINK ?=
CSV ?=
DIALECT ?=
KIND ?=
SYMBOLS ?=
DAYS ?=

# make soak: seconds.
SOAK_S ?= 600

# make bench: sizes in day bars; PEERS=no leaves out the pipelines of others; ONLY is features or clickhouse, FEATURES the
# securities of the contest of features, 750 days each.
BARS ?= 1000000 4000000
PEERS ?= yes
ONLY ?=
FEATURES ?= 500 5500

# make install: where to, and DESTDIR for packagers. BINARIES is a folder of programs built before; empty: builds them.
DESTDIR ?=
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
BINARIES ?=

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
	@echo 'make demo SOURCE=tushare               the same market from a fake of Tushare Pro, by its producer'
	@echo 'make demo SOURCE=qmt                   minutes from a stand-in for QMT, by the agent beside it'
	@echo 'make demo SINK=clickhouse              loads ClickHouse too (the engine itself, or SQEP_CLICKHOUSE_URL), and asks it'
	@echo 'make test                              every test; SQEP_DATA=DIR adds those on real files'
	@echo 'make bench BARS="1000000 4000000"      rows/s of each stage, beside pandas and polars'
	@echo 'make bench ONLY=features               the 45 features beside polars, TA-Lib and pandas; or ONLY=clickhouse'
	@echo 'make soak SOAK_S=600                   a trading day with everything going wrong, then an audit'
	@echo 'make check                             format, lints, docs, the core without runtime'
	@echo 'make mutants                           breaks the loops on purpose: the simulation must notice'
	@echo 'make install PREFIX=/usr/local          programs, systemd units, example configurations; DESTDIR=DIR; BINARIES=DIR'
	@echo 'make clean                             target, .venv and demo'

demo:
	@testkit/setup.sh demo '$(SOURCE)' '$(SINK)'
	$(build_programs)
	@'$(or $(CARGO_TARGET_DIR),target)/release/sqep' demo --out '$(OUT)' $(if $(SOURCE),--source '$(SOURCE)') \
		$(if $(SINK),--sink '$(SINK)') \
		$(if $(CSV),--csv '$(CSV)') $(if $(DIALECT),--dialect '$(DIALECT)') $(if $(KIND),--set 'stream.kind=$(KIND)') \
		$(if $(SYMBOLS),--symbols '$(SYMBOLS)') $(if $(DAYS),--days '$(DAYS)')

test:
	@testkit/setup.sh test
	cargo build --workspace --bins
	cargo test --workspace

bench:
	@testkit/setup.sh bench
	$(build_programs)
	cargo build --release -p sqep --example codec
	cargo build --release -p sqep-features --example kernel
	'$(SQEP_PYTHON)' testkit/bench/bench.py --bars $(BARS) --features $(FEATURES) \
		$(if $(filter no,$(PEERS)),--no-peers) $(if $(ONLY),--only-$(ONLY))

soak:
	@testkit/setup.sh test
	cargo build --workspace --bins
	SQEP_SOAK_S='$(SOAK_S)' SQEP_REPLAY_BARS=1000000 cargo test -p sqep-testkit --test soak --test replay -- --nocapture

check:
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps
	cargo check -p sqep --no-default-features

mutants:
	@testkit/setup.sh test
	'$(SQEP_PYTHON)' testkit/mutants.py

# The units name programs and configurations by the places below; a configuration that is there stays as it is.
install: into = $(DESTDIR)$(1)
install: share = $(DESTDIR)$(PREFIX)/share/sqep
install:
	$(if $(BINARIES),,$(build_programs) --locked)
	install -d '$(call into,$(PREFIX)/bin)' '$(call into,$(UNITDIR))' '$(call into,$(SYSCONFDIR)/sqep)' \
		'$(call into,$(PREFIX)/lib/sysusers.d)' '$(call into,$(PREFIX)/lib/tmpfiles.d)' \
		'$(share)/redis' '$(share)/prometheus' '$(share)/grafana'
	@for program in $(PROGRAMS); do \
		install -m 755 "$(or $(BINARIES),target/release)/$$program" '$(call into,$(PREFIX)/bin)' || exit 1; \
	done
	@for unit in deploy/systemd/*.service deploy/systemd/*.timer; do \
		sed -e 's|/usr/local/bin/|$(PREFIX)/bin/|g' -e 's|/etc/sqep/|$(SYSCONFDIR)/sqep/|g' "$$unit" \
			> '$(call into,$(UNITDIR))'/"$${unit##*/}" || exit 1; \
	done
	install -m 644 deploy/systemd/sqep.sysusers '$(call into,$(PREFIX)/lib/sysusers.d/sqep.conf)'
	sed 's|/etc/sqep|$(SYSCONFDIR)/sqep|' deploy/systemd/sqep.tmpfiles > '$(call into,$(PREFIX)/lib/tmpfiles.d/sqep.conf)'
	install -m 644 deploy/*.toml deploy/redis.conf '$(share)'
	install -m 644 deploy/redis/* '$(share)/redis'
	install -m 644 deploy/prometheus/* '$(share)/prometheus'
	install -m 644 deploy/grafana/*.json '$(share)/grafana'
	@for name in $(CONNECTORS); do \
		[ -e '$(call into,$(SYSCONFDIR)/sqep)'/$$name.toml ] || \
			install -m 644 deploy/sqep-$$name.toml '$(call into,$(SYSCONFDIR)/sqep)'/$$name.toml || exit 1; \
	done
	@echo 'installed. On a running system: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload,'
	@echo 'then look through $(SYSCONFDIR)/sqep/*.toml and: systemctl enable --now sqep-csv@csv sqep-parquet@parquet'

clean:
	cargo clean
	rm -rf .venv demo
