"""Weights, tokenizer and text: read, checked, with where they came from."""
