"""Inputs of a run: autoencoder, model, tokenizer and text, each read, checked and with its provenance."""
