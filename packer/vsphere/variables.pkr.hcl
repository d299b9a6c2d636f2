# --- vSphere; set the password by PKR_VAR_vcenter_password ---

variable "vcenter_server" {
  type        = string
  description = "Host name of vCenter."
}

variable "vcenter_username" {
  type        = string
  description = "Who builds."
}

variable "vcenter_password" {
  type        = string
  sensitive   = true
  description = "Their password."
}

variable "insecure_connection" {
  type        = bool
  default     = false
  description = "Accept any certificate of vCenter."
}

variable "datacenter" {
  type        = string
  default     = ""
  description = "Data centre, if there are several."
}

variable "cluster" {
  type        = string
  description = "Cluster that builds."
}

variable "datastore" {
  type        = string
  description = "Where the machine and its seed are put."
}

variable "folder" {
  type        = string
  default     = ""
  description = "Folder of the template."
}

variable "network" {
  type        = string
  description = "Network with DHCP, for the length of the build."
}

variable "template" {
  type        = string
  description = "Template of a stock cloud image to clone; it needs open-vm-tools."
}

variable "image_name" {
  type        = string
  description = "Name of the template to make."
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
