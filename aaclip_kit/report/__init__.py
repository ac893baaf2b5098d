"""The report of a run: its tables, figures and examples."""
