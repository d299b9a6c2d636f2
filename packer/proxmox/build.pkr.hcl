build {
  name    = "golden"
  sources = ["source.proxmox-clone.etcd"]

  provisioner "shell" {
    execute_command = "sudo env {{ .Vars }} sh '{{ .Path }}'"
    environment_vars = [
      "ETCD_PACKAGES=${var.etcd_packages}",
      # basename("") is ".".
      "ETCD_TARBALL=${var.etcd_tarball == "" ? "" : basename(var.etcd_tarball)}",
      "ETCD_SHA256=${var.etcd_sha256}",
      "EXTRA_PACKAGES=${var.extra_packages}",
      "BUILD_USER=packer",
    ]
    scripts = [
      "${path.root}/../scripts/wait-for-cloud-init.sh",
      "${path.root}/../scripts/install-etcd.sh",
      "${path.root}/../scripts/seal.sh",
      "${path.root}/../scripts/verify.sh",
    ]
  }

  # This builder has no shutdown_command: the user that is logged in goes here, and
  # with it the right to clean up after this very command.
  provisioner "shell" {
    inline     = ["sudo sh -c 'userdel --force --remove packer; rm -f /etc/sudoers.d/90-cloud-init-users'"]
    skip_clean = true
  }

  post-processor "manifest" {
    output = "manifest.json"
  }
}
