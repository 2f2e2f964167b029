"""Exact stand-ins for what torch does slowly on a CPU."""
