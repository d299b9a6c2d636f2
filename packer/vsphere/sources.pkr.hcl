locals {
  seed_files = ["${var.seed_directory}/user-data", "${var.seed_directory}/meta-data"]
}

source "vsphere-clone" "etcd" {
  vcenter_server      = var.vcenter_server
  username            = var.vcenter_username
  password            = var.vcenter_password
  insecure_connection = var.insecure_connection
  datacenter          = var.datacenter
  cluster             = var.cluster
  datastore           = var.datastore
  folder              = var.folder
  network             = var.network

  template            = var.template
  vm_name             = var.image_name
  RAM                 = var.memory
  convert_to_template = true

  # A release travels on the seed, so that nothing is fetched from inside.
  cd_files     = concat(local.seed_files, var.etcd_tarball == "" ? [] : [var.etcd_tarball])
  cd_label     = "cidata"
  remove_cdrom = true

  ssh_username         = "packer"
  ssh_private_key_file = "${var.seed_directory}/id_ed25519"
  ssh_timeout          = var.ssh_timeout

  # The user that is logged in goes last; no seed of a member knows it.
  shutdown_command = "sudo sh -c 'userdel --force --remove packer; rm -f /etc/sudoers.d/90-cloud-init-users; poweroff'"
  shutdown_timeout = "10m"
}
