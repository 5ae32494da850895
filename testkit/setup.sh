#!/usr/bin/env bash
# Installs what is missing for `make demo`, `make test` and `make bench`; does nothing, quickly, when nothing is.
#
# usage: testkit/setup.sh demo|test|bench|plots
#        testkit/setup.sh demo SOURCE SINK
#   demo   cargo and rustc, a C compiler, redis-server or valkey-server; with SOURCE qmt a python3, for the agent; with SINK
#          clickhouse the Python environment, for the engine
#   test   the same, rustfmt and clippy, systemd-analyze, and a Python environment in .venv, with TA-Lib
#   bench  as demo, and the Python environment with TA-Lib
#   plots  the Python environment with matplotlib, for consumers/features/plots.py alone
#
# Packages come by apt on Debian and Ubuntu; elsewhere it says what to install and stops.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rust_min=1.88
python_min=3.11
policy=/usr/sbin/policy-rc.d

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }
have() { command -v "$1" >/dev/null 2>&1; }

# at_least 1.95.0 1.88
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_install WHY PACKAGE…
apt_install() {
  local why=$1
  shift
  have apt-get || die "$why; install the equivalent of: $* (Debian names), then run this again"
  [ "$(id -u)" = 0 ] || have sudo ||
    die "$why; not root and no sudo here: as root, run: apt-get install $*"
  say "$why: installing $*"
  apt_get "$@" || { as_root apt-get update -q >&2 && apt_get "$@"; } ||
    die "apt-get could not install $*; its own message stands above"
}

# A server package would start a service on the default port: ours are private and start their own.
apt_get() {
  local kept_out=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    kept_out=yes
  fi
  local done=0
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2 || done=$?
  [ -z "$kept_out" ] || as_root rm -f "$policy"
  return "$done"
}

need_rust() {
  have cargo || [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH="$PATH:$HOME/.cargo/bin"
  if ! have cargo || ! have rustc; then
    die "no cargo and rustc ≥ $rust_min found; install Rust from https://rustup.rs, then run this again"
  fi
  local version
  version=$(rustc --version | cut -d ' ' -f 2)
  at_least "${version%%-*}" "$rust_min" ||
    die "rustc $version is older than $rust_min; run: rustup update stable"
}

need_rust_tools() {
  if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    die "rustfmt or clippy is missing; run: rustup component add rustfmt clippy"
  fi
}

# ring and zstd compile a little C.
need_cc() {
  if have "${CC:-cc}" && echo '#include <stdlib.h>' | "${CC:-cc}" -E - >/dev/null 2>&1; then return; fi
  apt_install "no C compiler" gcc libc6-dev
}

need_redis() {
  if have redis-server || have valkey-server; then return; fi
  apt_install "no redis-server or valkey-server" redis-server
  # Not at the next boot either. Nobody ran it before, since it was not there.
  if [ -d /run/systemd/system ]; then as_root systemctl disable --quiet redis-server || true; fi
}

# The units are checked by systemd itself; it is not started.
need_systemd() {
  if have systemd-analyze; then return; fi
  apt_install "no systemd-analyze" systemd
}

# The agent beside QMT is one Python file; any version that it runs with will do, and no package.
need_agent_python() {
  if have python3 && python3 -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null; then return; fi
  apt_install "no python3 ≥ 3.6, which the agent of SOURCE=qmt needs" python3
}

find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if have "$name" && at_least "$("$name" -c 'import platform; print(platform.python_version())')" "$python_min"; then
      command -v "$name"
      return
    fi
  done
  return 1
}

# make_venv PYTHON: makes .venv, unless venv or pip is missing.
make_venv() {
  rm -rf "$root/.venv"
  "$1" -m venv "$root/.venv" >/dev/null 2>&1 && "$root/.venv/bin/python" -m pip --version >/dev/null 2>&1
}

need_python() {
  local requirements=$root/testkit/python/requirements.txt stamp=$root/.venv/installed.txt python
  if [ -x "$root/.venv/bin/python" ] && cmp -s "$requirements" "$stamp"; then return; fi
  find_python >/dev/null || apt_install "no python3 ≥ $python_min" python3 python3-venv
  python=$(find_python) || die "no python3 ≥ $python_min found; install one, then run this again"
  say "making .venv with $python"
  if ! make_venv "$python"; then
    apt_install "$python has no venv" python3-venv
    make_venv "$python" || make_venv /usr/bin/python3 || die "$python -m venv does not work; its message: $("$python" -m venv "$root/.venv" 2>&1 | tail -n 3)"
  fi
  "$root/.venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r "$requirements" >&2 ||
    die "pip could not install testkit/python/requirements.txt; its own message stands above"
  cp "$requirements" "$stamp"
}

# need_extra NAME: the packages of testkit/python/NAME.txt besides, for one purpose.
need_extra() {
  local requirements=$root/testkit/python/$1.txt stamp=$root/.venv/installed-$1.txt
  need_python
  if cmp -s "$requirements" "$stamp"; then return; fi
  "$root/.venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r "$requirements" >&2 ||
    die "pip could not install testkit/python/$1.txt; its own message stands above"
  cp "$requirements" "$stamp"
}

# Of what the benchmark measures beside.
need_curl() {
  have curl || apt_install "no curl" curl
}

case "${1:-}" in
  demo)
    need_rust
    need_cc
    need_redis
    if [ "${2:-}" = qmt ]; then need_agent_python; fi
    if [ "${3:-}" = clickhouse ]; then need_python; fi
    ;;
  test)
    need_rust
    need_rust_tools
    need_cc
    need_redis
    need_systemd
    need_curl
    need_extra talib
    ;;
  bench)
    need_rust
    need_cc
    need_redis
    need_curl
    need_extra talib
    ;;
  plots) need_extra plots ;;
  *) die "usage: testkit/setup.sh demo|test|bench|plots" ;;
esac
