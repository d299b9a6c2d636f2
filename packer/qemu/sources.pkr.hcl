locals {
  seed_files = ["${var.seed_directory}/user-data", "${var.seed_directory}/meta-data"]
}

source "qemu" "etcd" {
  iso_url      = var.base_image
  iso_checksum = var.base_image_checksum
  disk_image   = true
  disk_size    = var.disk_size

  output_directory = var.output_directory
  vm_name          = "${var.image_name}.qcow2"
  format           = "qcow2"
  disk_compression = true

  # pc, not q35: Debian 12's cloud kernel cannot see the CD that q35 has.
  machine_type   = "pc"
  accelerator    = var.accelerator
  memory         = var.memory
  net_device     = "virtio-net"
  disk_interface = "virtio"
  qemuargs       = var.qemuargs
  headless       = true
  disable_vnc    = true
  boot_wait      = "1s"

  # A release travels on the seed, so that nothing is fetched from inside.
  cd_files = concat(local.seed_files, var.etcd_tarball == "" ? [] : [var.etcd_tarball])
  cd_label = "cidata"

  ssh_username         = "packer"
  ssh_private_key_file = "${var.seed_directory}/id_ed25519"
  ssh_timeout          = var.ssh_timeout

  # The user that is logged in goes last; no seed of a member knows it.
  shutdown_command = "sudo sh -c 'userdel --force --remove packer; rm -f /etc/sudoers.d/90-cloud-init-users; poweroff'"
  shutdown_timeout = "10m"
}
