# Packer 1.7 and newer: `packer init .` fetches the plugin. Packer 1.6 knows no
# required_plugins and has the builder inside; it takes this folder without this file.
packer {
  required_version = ">= 1.9.0"

  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.1.0"
    }
  }
}
