#!/usr/bin/env bash
# Runs a script under a systemd of its own: real units, users, credentials and watchdogs, in private namespaces.
#
# Nothing of it reaches the machine: everything is mounted read-only but FOLDER, and /etc, /usr/local, /var, /tmp, /run
# and /dev are its own; the systemd knows no unit and no generator of the machine, since those of a boot would clean up.
#
# usage: private.sh FOLDER SCRIPT
#   FOLDER/root   what `make install DESTDIR=FOLDER/root` put there; laid over /etc and /usr/local
#   FOLDER/said   what the script says
# Exit code: the script's; 77 where the kernel does not permit such namespaces, 124 after three minutes.
set -euo pipefail

here=$(readlink -f "${BASH_SOURCE[0]}")
seconds_max=180

# over PLACE: a layer of the namespace's own, above what was installed and what the machine has.
over() {
  local layer=/run/over$1
  mkdir -p "$layer/up" "$layer/work" "/run/test/root$1"
  mount -t overlay overlay -o "lowerdir=/run/test/root$1:$1,upperdir=$layer/up,workdir=$layer/work" "$1"
}

own_mounts() {
  local folder=$1 place
  mount --make-rprivate /
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir /run/test
  mount --bind "$folder" /run/test
  cut -d ' ' -f 5 /proc/self/mountinfo | while read -r place; do
    case $(printf '%b' "$place") in
      /run | /run/test | /proc) ;;
      *) mount -o remount,bind,ro "$(printf '%b' "$place")" 2>/dev/null || true ;;
    esac
  done
  for place in /etc /usr/local /var; do over "$place"; done
  mount -t tmpfs -o mode=1777 tmpfs /tmp
  mount -t tmpfs -o mode=1777 tmpfs /var/tmp
}

own_devices() {
  local name
  mkdir /run/dev
  mount -t tmpfs -o mode=755 tmpfs /run/dev
  for name in null zero full random urandom tty; do
    : > "/run/dev/$name"
    mount --bind "/dev/$name" "/run/dev/$name"
  done
  ln -s pts/ptmx /run/dev/ptmx
  mkdir /run/dev/pts /run/dev/shm /run/dev/mqueue /run/dev/hugepages
  : > /run/test/console
  : > /run/dev/console
  mount --bind /run/test/console /run/dev/console
  mount --move /run/dev /dev
}

own_cgroups() {
  mount -t tmpfs tmpfs /sys/fs/cgroup
  if grep -q '^[0-9]*:name=systemd:' /proc/self/cgroup; then
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd,xattr cgroup /sys/fs/cgroup/systemd
  else
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
  fi
}

own_units() {
  local units=/run/systemd/system target
  mkdir -p "$units" /run/none
  for target in sysinit basic shutdown umount timers multi-user network-online; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" > "$units/$target.target"
  done
  cp /lib/systemd/system/systemd-journald.service /lib/systemd/system/systemd-journald.socket "$units"
  mkdir -p /etc/systemd
  printf '[Journal]\nReadKMsg=no\nAudit=no\nStorage=volatile\n' > /etc/systemd/journald.conf
  cat > "$units/script.target" <<UNIT
[Unit]
DefaultDependencies=no
Wants=script.service
UNIT
  cat > "$units/script.service" <<UNIT
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
After=systemd-journald.service
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/usr/bin/env bash -c 'bash /run/test/script >/run/test/said 2>&1; echo \$\$? >/run/test/code.new; mv /run/test/code.new /run/test/code'
UNIT
}

inside() {
  local place
  own_mounts "$1"
  own_devices
  own_cgroups
  mount --bind /proc/sys /proc/sys
  mount -o remount,bind,ro /proc/sys
  own_units
  for place in / /usr; do
    if touch "$place/.sqep-test" 2>/dev/null; then
      rm "$place/.sqep-test"
      echo "$place can be written to: not going on" >&2
      exit 1
    fi
  done
  [ "$(stat -f -c %T /tmp):$(stat -f -c %T /var/tmp)" = tmpfs:tmpfs ] || exit 1
  [ -z "$(ls -A /tmp)" ] || exit 1
  # Cut off from the machine above; among themselves units share what systemd mounts for them, such as credentials.
  mount --make-rshared /
  exec env -i PATH="$PATH" container=lxc \
    SYSTEMD_UNIT_PATH=/run/systemd/system:/usr/local/lib/systemd/system \
    SYSTEMD_GENERATOR_PATH=/run/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/none \
    /lib/systemd/systemd --system --unit=script.target --show-status=no
}

# A cgroup of its own, so that units make theirs below it and it can be cleared away.
own_cgroup() {
  local root=/sys/fs/cgroup
  [ ! -d "$root/systemd" ] || root=$root/systemd
  LC_ALL=C mkdir "$root/sqep-test-$$" && echo "$root/sqep-test-$$"
}

if [ "$1" = --inside ]; then
  inside "$2"
fi

folder=$(readlink -f "$1")
cp "$2" "$folder/script"
rm -f "$folder/code"
namespaces=(unshare --mount --pid --fork --kill-child --mount-proc --ipc --uts --net --cgroup)
# Only what the kernel refuses is not permitted; anything else is a failure.
if ! refusal=$(LC_ALL=C "${namespaces[@]}" true 2>&1) || ! group=$(own_cgroup 2>&1); then
  refusal=${refusal:-$group}
  echo "private namespaces: $refusal" >&2
  case $refusal in
    *'Operation not permitted' | *'Permission denied' | *'Read-only file system') exit 77 ;;
  esac
  exit 1
fi
bash -c 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"' - "$group" "${namespaces[@]}" "$here" --inside "$folder" &
init=$!
clear_away() {
  kill -KILL "$init" 2>/dev/null || true
  wait "$init" 2>/dev/null || true
  # Its processes die with it, which the kernel may still be at.
  for _ in $(seq 50); do
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    [ -d "$group" ] || break
    sleep 0.1
  done
}
trap clear_away EXIT
until [ -e "$folder/code" ]; do
  kill -0 "$init" 2>/dev/null || { echo "the private systemd ended; see $folder/console" >&2; exit 1; }
  [ "$SECONDS" -lt "$seconds_max" ] || { echo "not done after $seconds_max s" >&2; exit 124; }
  sleep 0.1
done
exit "$(cat "$folder/code")"
