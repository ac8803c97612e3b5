"""The sweep: one pass over the rows by a driver, with one accumulator for each statistic."""
