"""A checked site on its way out: one file for an archive, a branch for a static host."""
