#!/bin/sh
# Makes a guest of a fresh Debian root; mmdebstrap calls it as `guest.sh ROOT`.
#
# What it leaves is what Debian's own cloud images are, as far as a seed can
# tell: unconfigured, without identity, with the release's package source.
# PACKAGE_SOURCE is that source's address and POOL the folder to fill for it;
# INSTALLABLE are the packages guests will want, DATASOURCES what cloud-init tries.
set -eu
root=$1
# shellcheck source=/dev/null  # the guest's
codename=$(. "$root/etc/os-release" && echo "$VERSION_CODENAME")

# What the guests will install, with all that this very root lacks for it.
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get clean
# shellcheck disable=SC2086  # a list of names
apt-get --yes --download-only install $INSTALLABLE
mkdir -p "$POOL"
mv "$root"/var/cache/apt/archives/*.deb "$POOL"
(cd "$POOL" && apt-ftparchive packages . >Packages && apt-ftparchive release . >Release)
rm "$root"/etc/apt/sources.list
# Trusted: what this suite tests ends where apt begins.
cat >"$root/etc/apt/sources.list.d/guest.list" <<LIST
deb [trusted=yes] $PACKAGE_SOURCE/$codename ./
LIST

# Debian's cloud images have cloud-init manage /etc/hosts.
cat >"$root/etc/cloud/cloud.cfg.d/01_debian_cloud.cfg" <<CFG
datasource_list: [$DATASOURCES]
manage_etc_hosts: true
# The only locale that needs no generating; Debian 12 ends in error for lack of en_US.
locale: C.UTF-8
CFG

# The host's, copied by mmdebstrap.
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"
# Debian 12's minimal system has none, its cloud images do.
echo "127.0.0.1 localhost" >"$root/etc/hosts"
# Every guest makes its own.
rm -f "$root"/etc/ssh/ssh_host_*
# The caches of /etc and /var are as fresh as /usr: no first boot need rebuild them.
touch "$root/etc/.updated" "$root/var/.updated"

echo "/dev/vda / ext4 errors=remount-ro 0 1" >"$root/etc/fstab"
# netplan only writes configuration; installing networkd does not enable it.
if [ -e "$root/usr/sbin/netplan" ]; then
    chroot "$root" systemctl enable systemd-networkd.service
fi

# Without a bootloader the disk is all the initramfs has to find; the default
# of "most" modules costs seconds of unpacking without KVM.
cat >"$root/etc/initramfs-tools/conf.d/guest" <<CONF
MODULES=list
FSTYPE=ext4
CONF
printf '%s\n' virtio_pci virtio_blk >>"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u
