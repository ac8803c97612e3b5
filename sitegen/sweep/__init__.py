"""One pass over the rows: a driver, and one accumulator a statistic."""
