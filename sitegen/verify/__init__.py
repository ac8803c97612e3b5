"""Published numbers of a preset, computed again from the same weights, tokenizer and text."""
