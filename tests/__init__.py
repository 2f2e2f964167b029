import pytest

# Helpers that assert: so that pytest shows the values here too.
pytest.register_assert_rewrite("tests.commands", "tests.processes", "tests.report.page")
