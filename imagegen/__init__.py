"""From one cluster spec to N self-configuring etcd members."""

__version__ = "0.1.0"
