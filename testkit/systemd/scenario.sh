#!/usr/bin/env bash
# One unit of each kind through its life, under a real systemd and with the configurations as they are installed. Run by
# private.sh; stops at the first thing that is not as it should be.
set -euo pipefail

fail() { echo "FAILED: $*"; journalctl -u 'sqep-*' -n 12 -o cat; exit 1; }
ok() { echo "ok: $*"; }

# property UNIT NAME
property() { systemctl show -P "$2" "$1"; }

# until_is UNIT NAME PATTERN: waits at most half a minute.
until_is() {
  local tries
  for tries in $(seq 300); do
    # shellcheck disable=SC2053
    if [[ $(property "$1" "$2") == $3 ]]; then return; fi
    sleep 0.1
  done
  fail "$1: $2 is $(property "$1" "$2"), not $3"
}

systemd-sysusers /usr/local/lib/sysusers.d/sqep.conf
systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/sqep.conf
[ "$(stat -c %U:%a /var/lib/sqep)" = sqep:750 ] || fail "/var/lib/sqep is $(stat -c %U:%a /var/lib/sqep)"
[ "$(stat -c %U:%a /etc/sqep/credentials)" = root:700 ] || fail "/etc/sqep/credentials"
ok "user and folders"

mkdir -p /run/redis
cat > /run/systemd/system/redis-server.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
ExecStart=$(command -v redis-server || command -v valkey-server) --dir /run/redis --save '' --appendonly yes
UNIT
systemctl daemon-reload

# Ready means connected: without a server the unit stays on its way, and is not given up.
systemctl start --no-block sqep-parquet@parquet
until_is sqep-parquet@parquet StatusText '*not connected: redis at*'
[ "$(property sqep-parquet@parquet ActiveState)" = activating ] || fail "active without a server"
systemctl start redis-server
until_is sqep-parquet@parquet ActiveState active
ok "start: ready once the server answers"

printf '%s\n' 'ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount' \
  '000001.SZ,20180718,8.75,8.85,8.69,8.70,8.72,-0.02,-0.23,525152.77,460697.377' > /run/redis/000001.csv
mv /run/redis/000001.csv /var/lib/sqep/in/
systemctl start sqep-csv@csv
for tries in $(seq 300); do
  archived=$(find /var/lib/sqep/archive -name '*.parquet' 2>/dev/null | head -n 1)
  [ -z "$archived" ] || break
  sleep 0.1
done
[ -n "$archived" ] || fail "nothing archived"
[ "$(stat -c %U:%G "$archived")" = sqep:sqep ] || fail "$archived is $(stat -c %U:%G "$archived")'s"
until_is sqep-parquet@parquet StatusText '*lag 0 entries*'
ok "a bar from file to archive; $(property sqep-parquet@parquet StatusText)"

[ "$(journalctl -u sqep-parquet@parquet -p warning -o cat | grep -c 'not answer')" -gt 0 ] ||
  fail "the journal knows no warning"
journalctl -u sqep-parquet@parquet -o cat | grep -Eq '^<|^20|.\[' && fail "priority, time or colour in the journal"
ok "journal: priorities, no times, no colour"

before=$(property sqep-parquet@parquet MainPID)
systemctl kill -s KILL --kill-who=main sqep-parquet@parquet
until_is sqep-parquet@parquet NRestarts 1
until_is sqep-parquet@parquet ActiveState active
[ "$(property sqep-parquet@parquet MainPID)" != "$before" ] || fail "the same process"
ok "restart after a crash"

# The same unit with a reader that hangs in its first write.
mkdir -p /run/systemd/system/sqep-parquet@hung.service.d /var/lib/sqep/hung
chown sqep: /var/lib/sqep/hung
cat > /run/systemd/system/sqep-parquet@hung.service.d/hung.conf <<UNIT
[Service]
ExecStart=
ExecStart=/usr/local/bin/sqep-hung --set hung.folder=/var/lib/sqep/hung --set reader.start=earliest \
  --set reader.write_timeout_s_max=1
WatchdogSec=1s
UNIT
systemctl daemon-reload
systemctl start sqep-parquet@hung
until_is sqep-parquet@hung NRestarts '[1-9]*'
journalctl -u sqep-parquet@hung -o cat | grep -q 'Watchdog timeout' || fail "ended, but not by the watchdog"
touch /var/lib/sqep/hung/go
until_is sqep-parquet@hung StatusText '*lag 0 entries*'
ok "watchdog: a hung sink is started anew, and what it had in hand comes again"

# A password comes by credential.
echo secret > /etc/sqep/credentials/redis.password
redis-cli config set requirepass secret >/dev/null
systemctl restart sqep-parquet@parquet || fail "restart with a password"
until_is sqep-parquet@parquet ActiveState active
ok "password by credential"

systemctl start sqep-compact@parquet || fail "compact"
systemctl start sqep-trim@parquet || fail "trim"
systemctl start sqep-compact@parquet.timer sqep-trim@parquet.timer
ok "compact and trim"

since=$SECONDS
systemctl stop sqep-parquet@parquet sqep-csv@csv
[ $((SECONDS - since)) -le 10 ] || fail "stopping took $((SECONDS - since)) s"
for unit in sqep-parquet@parquet sqep-csv@csv; do
  [ "$(property $unit Result):$(property $unit ActiveState)" = success:inactive ] || fail "$unit ended with $(property $unit Result)"
done
ok "stop within ten seconds"

# A wrong configuration is not tried again and again.
echo 'nonsense = 1' >> /etc/sqep/parquet.toml
systemctl start --no-block sqep-parquet@parquet
until_is sqep-parquet@parquet ActiveState failed
ok "a wrong configuration fails at once"
