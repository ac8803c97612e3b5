"""The embedded demo: a small language model, its autoencoder, and text that neither was trained on."""
