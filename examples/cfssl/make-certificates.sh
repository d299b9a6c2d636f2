#!/bin/sh
# Make what examples/own-certificates.yaml brings along, with cfssl, in DIR.
# What the lab leaves out: each member has a key of its own, and its address and
# localhost in the certificate. Members share a common name that no client has,
# so that etcd can tell them apart at the peer port.
set -eu

dir=${1:?usage: make-certificates.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)
umask 077
mkdir -p "$dir"
cd "$dir"

cfssl gencert -loglevel=4 -initca "$here/ca-csr.json" | cfssljson -bare ca

sign() { # NAME PROFILE COMMON-NAME [HOSTS]
  printf '{"CN": "%s", "key": {"algo": "ecdsa", "size": 256}}' "$3" |
    cfssl gencert -loglevel=4 -ca=ca.pem -ca-key=ca-key.pem -config="$here/ca-config.json" \
      -profile="$2" -hostname="${4:-}" - |
    cfssljson -bare "$1"
}

for number in 1 2 3; do
  name=brought-$number
  sign "$name" member brought "$name,localhost,10.240.1.1$number,127.0.0.1,::1"
done
sign client client client
rm -f ./*.csr
