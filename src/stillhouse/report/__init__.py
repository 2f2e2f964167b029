"""A finished run, or a comparison, told to people: a page, and the same words for the terminal."""

from stillhouse.report.comparison_report import write_comparison_report
from stillhouse.report.comparison_words import comparison_markdown, comparison_text
from stillhouse.report.run_report import write_report
from stillhouse.report.summary import summary_lines
from stillhouse.report.words import time_lines

__all__ = ["comparison_markdown", "comparison_text", "summary_lines", "time_lines", "write_comparison_report", "write_report"]
