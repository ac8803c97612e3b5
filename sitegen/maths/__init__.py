"""Pure functions on tensors, one formula each, and the search for activations."""
