#!/bin/sh
# Takes the machine's identity and the build's traces away, all but the user
# that is logged in: shutdown_command removes that as the last thing.
set -eu

cloud-init clean --logs --machine-id
rm -rf /var/lib/cloud/* /etc/cloud/cloud-init.disabled
# Some images bring it for their own datasource; the network must be a seed's to set.
rm -f /etc/cloud/cloud.cfg.d/*curtin* /etc/cloud/cloud.cfg.d/99-installer.cfg
rm -f /etc/cloud/cloud.cfg.d/*disable-cloudinit-networking.cfg
rm -f /etc/netplan/*.yaml /etc/network/interfaces.d/50-cloud-init
rm -f /etc/systemd/network/10-cloud-init-*.network
rm -f /var/lib/dhcp/* /var/lib/dhcpcd/* /var/lib/NetworkManager/*lease*
rm -rf /var/lib/systemd/network/*

# Stopping it saves a seed, which the shutdown would do later.
systemctl stop systemd-random-seed.service
# systemd takes "uninitialized" and empty for a first boot; empty is what all tools write.
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /etc/ssh/ssh_host_*
rm -f /etc/hostname

rm -rf /var/lib/etcd/* /var/lib/etcd/.[!.]*
rm -rf /var/lib/imagegen /etc/etcd /etc/imagegen

apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
rm -f /root/.*_history /root/.ssh/authorized_keys

# journald would write to /var/log again on the way down.
journalctl --relinquish-var
rm -rf /var/log/journal/*
find /var/log -type f -exec truncate --size 0 {} +
find /var/log -type f \( -name '*.gz' -o -name '*.[0-9]' \) -delete
rm -rf /tmp/* /var/tmp/*
sync
