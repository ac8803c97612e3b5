"""The layouts in which autoencoders are published: a module each, found by `registry`."""
