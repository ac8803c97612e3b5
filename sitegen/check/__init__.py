"""Examines a finished output folder: data against its schema, pages against the data, links, sizes, budgets."""

from sitegen.check.report import Report, check_output

__all__ = ["Report", "check_output"]
