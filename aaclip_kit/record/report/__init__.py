"""The report: one HTML file that needs nothing beside it and can be made again from the run folder at any time.

Each section is a module, which turns what the run folder holds into plain data, and a template of the same name.
"""

from .page import write_report

__all__ = ["write_report"]
