"""Facts about etcd: its versions, its variables and what their values may be."""
