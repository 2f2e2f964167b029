"""A finished run told to people: a page, and the same words for the terminal."""

from stillhouse.report.run_report import write_report
from stillhouse.report.words import summary_lines

__all__ = ["summary_lines", "write_report"]
