"""Pure functions on tensors, one formula each."""
