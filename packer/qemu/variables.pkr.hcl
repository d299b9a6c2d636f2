# --- the image to start from, and the one to make ---

variable "image_name" {
  type        = string
  description = "What the finished image is called, without extension."
}

variable "base_image" {
  type        = string
  description = "Cloud image to start from: a path or a URL."
}

variable "base_image_checksum" {
  type        = string
  description = "Its checksum, such as sha256:..., or file:URL of the publisher's list."
}

variable "disk_size" {
  type        = string
  default     = "8G"
  description = "Size of the finished image's disk."
}

variable "output_directory" {
  type        = string
  default     = "output"
  description = "Folder to make for the finished image; must not exist."
}

# --- the build seed: `imagegen packer seed seed` writes it ---

variable "seed_directory" {
  type        = string
  default     = "seed"
  description = "Folder with user-data, meta-data and id_ed25519 of the build."
}

# --- etcd ---

variable "etcd_packages" {
  type        = string
  default     = "etcd-server etcd-client"
  description = "Distribution packages that bring etcd; name=version pins one."
}

variable "etcd_tarball" {
  type        = string
  default     = ""
  description = "Path of an upstream release to install instead of the packages."
}

variable "etcd_sha256" {
  type        = string
  default     = ""
  description = "SHA-256 of etcd_tarball, which is not used without it."

  validation {
    condition     = var.etcd_sha256 == "" || length(var.etcd_sha256) == 64
    error_message = "The etcd_sha256 value must be 64 hexadecimal digits."
  }
}

variable "extra_packages" {
  type        = string
  default     = ""
  description = "Further distribution packages, separated by spaces."
}

# --- the machine that builds ---

variable "accelerator" {
  type        = string
  default     = "kvm"
  description = "QEMU accelerator: kvm, hvf, or tcg where there is no virtualization."
}

variable "memory" {
  type        = number
  default     = 1024
  description = "MiB of memory."
}

variable "qemuargs" {
  type        = list(list(string))
  default     = []
  description = "Further QEMU arguments. Never -drive or -device: they replace Packer's own."
}

variable "ssh_timeout" {
  type        = string
  default     = "20m"
  description = "How long the machine may take from power-on to SSH."
}
