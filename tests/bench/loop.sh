#!/usr/bin/env bash
# Seeds as they are made without imagegen: cfssl for certificates, envsubst for
# user-data, cloud-localds for the ISO. The same work, but that nothing is read
# back or synced, and that all but the certificates has been filled in before.
#
# usage: loop.sh INPUT OUTPUT; INPUT is what tests/bench/work.py prepares:
#   ca-config.json                       cfssl's profiles
#   CLUSTER/authorities, CLUSTER/leaves  a line for each certificate to make
#   CLUSTER/NAME/                        user-data with variables, meta-data, network-config
set -euo pipefail
umask 077
input=$1 output=$2

authority() { # NAME COMMON-NAME
  printf '{"CN": "%s", "key": {"algo": "ecdsa", "size": 256}}' "$2" |
    cfssl gencert -loglevel=4 -initca - | cfssljson -bare "$1"
}

leaf() { # CA NAME PROFILE COMMON-NAME HOSTS
  printf '{"CN": "%s", "key": {"algo": "ecdsa", "size": 256}}' "$4" |
    cfssl gencert -loglevel=4 -ca="$1.pem" -ca-key="$1-key.pem" -config="$input/ca-config.json" \
      -profile="$3" -hostname="$5" - | cfssljson -bare "$2"
}

indented() { # FILE: as it stands in user-data, in a literal block
  local text
  text=$(<"$1")
  printf '%s' "${text//$'\n'/$'\n'      }"
}

for cluster in "$input"/*/; do
  mkdir -p "$output/${cluster#"$input"/}"
  cd "$output/${cluster#"$input"/}"
  while IFS=$'\t' read -r name common; do
    authority "$name" "$common"
  done <"$cluster/authorities"
  while IFS=$'\t' read -r ca name profile common hosts; do
    leaf "$ca" "$name" "$profile" "$common" "$hosts"
  done <"$cluster/leaves"
  for node in "$cluster"/*/; do
    name=$(basename "$node")
    # Each variable is called after its file: CA_PEM is ca.pem, SERVER_KEY_PEM the server's key.
    variables=
    while IFS=$'\t' read -r variable file; do
      printf -v "$variable" '%s' "$(indented "$file")"
      export "${variable?}"
      variables+=" \$$variable"
    done <"$node/variables"
    mkdir "$name"
    envsubst "$variables" <"$node/user-data" >"$name/user-data"
    cp "$node/meta-data" "$node/network-config" "$name/"
    cloud-localds -N "$name/network-config" "$name/seed.iso" "$name/user-data" "$name/meta-data"
  done
  rm -f ./*.csr
done
