locals {
  seed_files = ["${var.seed_directory}/user-data", "${var.seed_directory}/meta-data"]
}

source "proxmox-clone" "etcd" {
  proxmox_url              = var.proxmox_url
  username                 = var.proxmox_username
  token                    = var.proxmox_token
  insecure_skip_tls_verify = var.insecure_skip_tls_verify
  node                     = var.node

  clone_vm             = var.clone_vm
  full_clone           = true
  vm_name              = var.image_name
  template_name        = var.image_name
  template_description = "etcd, installed and off; a seed of imagegen makes it a member"
  os                   = "l26"
  memory               = var.memory
  scsi_controller      = "virtio-scsi-single"
  qemu_agent           = true

  network_adapters {
    model  = "virtio"
    bridge = var.bridge
  }

  # SCSI: Debian 12's cloud kernel cannot see a SATA CD. A release travels on the
  # seed, so that nothing is fetched from inside.
  additional_iso_files {
    type             = "scsi"
    index            = 5
    cd_files         = concat(local.seed_files, var.etcd_tarball == "" ? [] : [var.etcd_tarball])
    cd_label         = "cidata"
    iso_storage_pool = var.iso_storage_pool
    unmount          = true
  }

  ssh_username         = "packer"
  ssh_private_key_file = "${var.seed_directory}/id_ed25519"
  ssh_timeout          = var.ssh_timeout
}
