build {
  name    = "golden"
  sources = ["source.qemu.etcd"]

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

  post-processors {
    post-processor "checksum" {
      checksum_types = ["sha256"]
      output         = "${var.output_directory}/${var.image_name}.{{ .ChecksumType }}"
    }
    post-processor "manifest" {
      output     = "${var.output_directory}/manifest.json"
      strip_path = true
    }
  }
}
