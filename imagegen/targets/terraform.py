r"""A Terraform (or OpenTofu) module with one output for each member, for whatever provider.

The folder ``terraform`` in the cluster's directory is the module; it has a
file for each member, and Terraform reads all ``*.tf.json`` of a folder as one
(developer.hashicorp.com/terraform/language/files). An output has the member's
name, or ``_NAME`` if that begins with a digit, which no output's name may. Its
fields are the documents, ``user_data_base64`` (gzip, then base64),
``instance_id``, and ``keys_iso``, a path, with ``--secrets split``.
``network_config`` is null if the spec says nothing of the network; arguments
that are null count as not given.

In Terraform's JSON a string is a template, so ``${`` and ``%{`` are written
``$${`` and ``%%{`` (developer.hashicorp.com/terraform/language/syntax/json,
"Expression Mapping"). Terraform keeps strings in Unicode's normal form C; only
``user_data_base64`` arrives byte for byte even where they are not in it.

Every output is sensitive, which keeps it from the screen and not from the
state: what a resource is given stands there in plain text, for whoever may
read the state, and so may any process in the guest on clouds with a metadata
service. The module cannot know where it is used, so private keys stay out of
it unless the operator says otherwise.

A root module uses it so, here with five providers (their arguments as in their
own documentation; what has nothing to do with user-data is left out)::

    module "etcd" {
      source = "./out/icc-etcd/terraform"
    }

    # libvirt (dmacvicar/libvirt 0.9): meta-data is ours.
    resource "libvirt_cloudinit_disk" "seed" {
      for_each       = module.etcd
      name           = "${each.key}-seed.iso"
      user_data      = each.value.user_data
      meta_data      = each.value.meta_data
      network_config = each.value.network_config
    }
    resource "libvirt_volume" "keys" { # with --secrets split: a disk of the domain's, too
      for_each = module.etcd
      name     = "${each.key}-keys.iso"
      pool     = "default"
      create   = { content = { url = abspath(each.value.keys_iso) } }
    }

    # AWS (hashicorp/aws): the instance-id is EC2's own.
    resource "aws_instance" "member" {
      for_each         = module.etcd
      ami              = var.ami
      instance_type    = "m7i.large"
      user_data_base64 = each.value.user_data_base64
    }

    # OpenStack (terraform-provider-openstack/openstack): the instance-id is Nova's own.
    resource "openstack_compute_instance_v2" "member" {
      for_each    = module.etcd
      name        = each.key
      image_name  = var.image
      flavor_name = var.flavor
      user_data   = each.value.user_data
    }

    # Proxmox VE (bpg/proxmox): snippets; meta-data is ours.
    resource "proxmox_virtual_environment_file" "user_data" { # meta_data, network likewise
      for_each     = module.etcd
      content_type = "snippets"
      datastore_id = var.snippets
      node_name    = var.node
      source_raw {
        file_name = "${each.key}-user-data"
        data      = each.value.user_data
      }
    }
    resource "proxmox_virtual_environment_vm" "member" {
      for_each  = module.etcd
      name      = each.key
      node_name = var.node
      initialization {
        user_data_file_id    = proxmox_virtual_environment_file.user_data[each.key].id
        meta_data_file_id    = proxmox_virtual_environment_file.meta_data[each.key].id
        network_data_file_id = proxmox_virtual_environment_file.network[each.key].id
      }
    }

    # Hetzner Cloud (hetznercloud/hcloud): the instance-id is Hetzner's own.
    resource "hcloud_server" "member" {
      for_each    = module.etcd
      name        = each.key
      image       = "debian-12"
      server_type = "cx23"
      user_data   = each.value.user_data
    }

Google, Azure and others take ``user_data`` or ``user_data_base64`` likewise.
"""

from __future__ import annotations

import json
import re

import yaml

from imagegen.documents.names import KEYS_DISC
from imagegen.documents.render import NodeDocuments
from imagegen.media.encodings import Encoding, encoded
from imagegen.spec.secrets import Secrets
from imagegen.spec.yaml import LOADER
from imagegen.targets.payload import Options, Payload, Readers, Target


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """The member's file of the module."""
    name = documents.member.name
    network = documents.network_config
    texts = {
        "name": name,
        "instance_id": documents.member.instance_id,
        "user_data": documents.user_data,
        "user_data_base64": encoded(documents.user_data.encode(), Encoding.GZIP_BASE64).decode(),
        "meta_data": documents.meta_data,
        # One that is only a comment says nothing.
        "network_config": network if yaml.load(network, Loader=LOADER) else None,  # noqa: S506  # a safe loader
    }
    value = {key: text and literal(text) for key, text in texts.items()}
    split = documents.secrets == Secrets.SPLIT
    value["keys_iso"] = f"${{path.module}}/../{documents.folder}/{KEYS_DISC}" if split else None
    output = {
        "description": f"What {name} boots with.",
        "sensitive": True,
        "value": value,
    }
    module = {"output": {output_name(name): output}}
    data = json.dumps(module, indent=2) + "\n"
    return Payload(files={f"terraform/{name}.tf.json": data.encode()})


def output_name(member: str) -> str:
    """The member's name as Terraform lets an output be called."""
    return f"_{member}" if member[0].isdigit() else member


def literal(text: str) -> str:
    """``text`` as a template that stands for itself."""
    return re.sub(r"([$%])(?=\{)", r"\1\1", text)


TARGETS = (
    Target(
        name="terraform",
        makes="terraform/, a module with an output for each member",
        encoding="plain, and gzip+base64",
        readers=Readers.GUEST,
        attach='module "etcd" { source = "OUT/CLUSTER/terraform" }, then with for_each = '
        "module.etcd: libvirt_cloudinit_disk user_data, meta_data, network_config;"
        " aws_instance user_data_base64;"
        " openstack_compute_instance_v2 user_data;"
        " proxmox_virtual_environment_file source_raw.data (bpg), for user, meta and network data;"
        " hcloud_server user_data"
        " (each = each.value.FIELD). The state keeps what a resource is given, in plain text."
        " Meta-data is ours where the provider takes it, as libvirt's and bpg's do; clouds give"
        " their own instance-id",
        source="https://developer.hashicorp.com/terraform/language/syntax/json",
        unverified="evaluated by Terraform 1.15, never applied with a provider; OpenTofu not tried",
        package=package,
    ),
)
