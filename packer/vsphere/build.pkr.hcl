build {
  name    = "golden"
  sources = ["source.vsphere-clone.etcd"]

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

  post-processor "manifest" {
    output = "manifest.json"
  }
}
