"""Conversion of the records to files that other tools read, one module per tool; without torch."""
