#!/bin/sh
# Installs etcd and leaves it off, and records in /etc/imagegen-image.json what
# the image holds. A member's seed turns it on.
#
# ETCD_PACKAGES   names for apt-get, used unless a tarball is given
# ETCD_TARBALL    file name of an upstream release on the build seed's CD
# ETCD_SHA256     its digest, without which it is not used
# EXTRA_PACKAGES  further names for apt-get
set -eu
export DEBIAN_FRONTEND=noninteractive

fail() {
    echo "install-etcd.sh: $1" >&2
    exit 1
}

if [ -n "$ETCD_TARBALL" ] && [ -z "$ETCD_SHA256" ]; then
    fail "etcd_tarball needs etcd_sha256"
fi

# Debian's package starts what it installs; a golden image must never have run etcd.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT

install_packages() {
    apt-get --quiet --quiet --option Acquire::Languages=none update
    # shellcheck disable=SC2086  # lists of names
    apt-get --quiet --quiet --yes --no-install-recommends install $1
}

install_release() {
    cd=$(blkid --label cidata) || fail "no disk is labelled cidata"
    mount --options ro --source "$cd" --target /mnt
    tarball=/mnt/$ETCD_TARBALL
    echo "$ETCD_SHA256  $tarball" | sha256sum --check --quiet ||
        fail "$ETCD_TARBALL does not have the digest in etcd_sha256"
    folder=$(mktemp --directory)
    tar --extract --gzip --file "$tarball" --directory "$folder" --strip-components 1
    # As first boot does, so that a member is upgraded alike wherever its release came from.
    version=$("$folder/etcd" --version | sed -n 's/^etcd Version: //p')
    [ -n "$version" ] || fail "etcd of $ETCD_TARBALL does not run here"
    install --directory "/opt/etcd/$version"
    for program in etcd etcdctl etcdutl; do
        # 3.4 has no etcdutl.
        [ -e "$folder/$program" ] || continue
        install "$folder/$program" "/opt/etcd/$version"
        ln --symbolic --force "../../../opt/etcd/current/$program" /usr/local/bin
    done
    ln --symbolic "$version" /opt/etcd/current
    rm -r "$folder"
    umount /mnt
    useradd --system --user-group --home-dir /var/lib/etcd --shell /usr/sbin/nologin etcd
    install --directory --owner etcd --group etcd --mode 700 /var/lib/etcd
    # Written there by the build's seed: the unit that members with a release of their own get.
    install --mode 644 /run/imagegen/etcd.service /etc/systemd/system ||
        fail "the seed is an older imagegen's: make it anew, imagegen packer seed"
}

if [ -n "$ETCD_TARBALL" ]; then
    if [ -n "$EXTRA_PACKAGES" ]; then
        install_packages "$EXTRA_PACKAGES"
    fi
    install_release
    source="release $ETCD_TARBALL sha256:$ETCD_SHA256"
else
    install_packages "$ETCD_PACKAGES $EXTRA_PACKAGES"
    # With a root given, systemctl changes links and does not reload the manager.
    systemctl --quiet --root=/ disable etcd.service
    source="package $(dpkg-query --show --showformat '${Package} ${Version}' etcd-server)"
fi

version=$(etcd --version | sed -n 's/^etcd Version: //p')
[ -n "$version" ] || fail "etcd does not tell its version"
# shellcheck source=/dev/null
distribution=$(. /etc/os-release && echo "$ID-$VERSION_ID")
cat >/etc/imagegen-image.json <<JSON
{"etcd": "$version", "source": "$source", "distribution": "$distribution", "built": "$(date -u +%FT%TZ)"}
JSON
