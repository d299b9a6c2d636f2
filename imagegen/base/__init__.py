"""What knows nothing of etcd: problems, files, shipped files."""
