"""How the demo was made: text from packages, a language model, an autoencoder on its activations."""
