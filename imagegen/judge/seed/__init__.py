"""What is on a seed, and whether cloud-init would accept it."""
