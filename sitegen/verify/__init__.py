"""Numbers that were published of a subject, computed again from the same weights, tokenizer and text."""
