image_name          = "ubuntu-24.04-etcd"
base_image          = "https://cloud-images.ubuntu.com/releases/noble/release/ubuntu-24.04-server-cloudimg-amd64.img"
base_image_checksum = "file:https://cloud-images.ubuntu.com/releases/noble/release/SHA256SUMS"
