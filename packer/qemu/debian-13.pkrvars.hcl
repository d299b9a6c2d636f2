image_name          = "debian-13-etcd"
base_image          = "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-genericcloud-amd64.qcow2"
base_image_checksum = "file:https://cloud.debian.org/images/cloud/trixie/latest/SHA512SUMS"
