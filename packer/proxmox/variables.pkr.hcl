# --- Proxmox VE; set the token by PKR_VAR_proxmox_token ---

variable "proxmox_url" {
  type        = string
  description = "Of the API, such as https://pve.example.org:8006/api2/json."
}

variable "proxmox_username" {
  type        = string
  description = "Token ID, such as packer@pve!imagegen."
}

variable "proxmox_token" {
  type        = string
  sensitive   = true
  description = "The token's secret."
}

variable "insecure_skip_tls_verify" {
  type        = bool
  default     = false
  description = "Accept any certificate of the API."
}

variable "node" {
  type        = string
  description = "Node that builds."
}

variable "clone_vm" {
  type        = string
  description = "Template of a stock cloud image to clone."
}

variable "image_name" {
  type        = string
  description = "Name of the template to make."
}

variable "bridge" {
  type        = string
  default     = "vmbr0"
  description = "Bridge with DHCP, for the length of the build."
}

variable "iso_storage_pool" {
  type        = string
  default     = "local"
  description = "Where the build seed's ISO is put."
}

variable "memory" {
  type        = number
  default     = 1024
  description = "MiB of memory."
}

variable "ssh_timeout" {
  type        = string
  default     = "20m"
  description = "How long the machine may take from power-on to SSH."
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
