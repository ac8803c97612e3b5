"""The data as other tools read it: one module a tool, from records to its files. No torch."""
