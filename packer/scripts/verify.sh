#!/bin/sh
# Tells everything in an image that its members must not share, or do not need.
#
#     verify.sh [ROOT]
#
# BUILD_USER, if set, is still allowed: it goes last, with the shutdown.
set -eu
root=${1:-/}
root=${root%/}
allowed=${BUILD_USER:-}
problems=0

problem() {
    echo "verify.sh: $1" >&2
    problems=$((problems + 1))
}

# Whatever a pattern matches below the root must not be there.
absent() {
    what=$1
    shift
    for path in "$@"; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            problem "$what: ${path#"$root"}"
        fi
    done
}

# A folder may be there, but nothing in it.
empty() {
    [ -d "$root$2" ] || return 0
    first=$(find "$root$2" -mindepth 1 -print -quit)
    [ -z "$first" ] || problem "$1: ${first#"$root"}"
}

[ ! -s "$root/etc/machine-id" ] || problem "machine-id is not empty"
absent "machine identity" "$root"/var/lib/dbus/machine-id "$root"/var/lib/systemd/random-seed \
    "$root"/var/lib/systemd/credential.secret "$root"/etc/hostname
absent "SSH host key" "$root"/etc/ssh/ssh_host_*
absent "network state" "$root"/etc/netplan/*.yaml "$root"/etc/network/interfaces.d/50-cloud-init \
    "$root"/etc/systemd/network/10-cloud-init-*.network "$root"/var/lib/dhcp/*lease* \
    "$root"/var/lib/dhcpcd/*lease*
empty "cloud-init state" /var/lib/cloud
absent "cloud-init is off" "$root"/etc/cloud/cloud-init.disabled
empty "etcd data" /var/lib/etcd
absent "a member's file" "$root"/etc/etcd "$root"/etc/imagegen "$root"/var/lib/imagegen
absent "etcd is on" "$root"/etc/systemd/system/*.wants/etcd.service
empty "journal" /var/log/journal
empty "package list" /var/lib/apt/lists
# wtmp has the shutdown itself.
log=$(find "$root/var/log" -type f -size +0 ! -name wtmp -print -quit)
[ -z "$log" ] || problem "log: ${log#"$root"}"

while IFS=: read -r name _ id _; do
    if [ "$id" -ge 1000 ] && [ "$id" -lt 65534 ] && [ "$name" != "$allowed" ]; then
        problem "user: $name"
    fi
done <"$root/etc/passwd"
for home in "$root"/home/*; do
    [ ! -d "$home" ] || [ "${home##*/}" = "$allowed" ] || problem "home: ${home#"$root"}"
done
if [ -z "$allowed" ]; then
    absent "build user's right" "$root"/etc/sudoers.d/90-cloud-init-users
fi
absent "who may log in" "$root"/root/.ssh/authorized_keys
if [ -d "$root/etc/ssl/private" ]; then
    empty "key" /etc/ssl/private
fi
for tree in etc root opt srv var usr/local; do
    [ -d "$root/$tree" ] || continue
    keys=$(grep -rlE -e '-----BEGIN [A-Z ]*PRIVATE KEY-----' "$root/$tree" 2>/dev/null || true)
    for path in $keys; do
        problem "private key: ${path#"$root"}"
    done
done

[ -s "$root/etc/imagegen-image.json" ] || problem "/etc/imagegen-image.json is missing"
[ -x "$root/usr/bin/etcd" ] || [ -x "$root/usr/local/bin/etcd" ] || problem "etcd is missing"

if [ "$problems" -gt 0 ]; then
    echo "verify.sh: $problems problems" >&2
    exit 1
fi
echo "verify.sh: nothing of the build is left"
