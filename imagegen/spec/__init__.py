"""What the operator writes, and every problem with it."""
