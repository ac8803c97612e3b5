"""Training of the demo: text from packages, a language model, and an autoencoder on its activations."""
