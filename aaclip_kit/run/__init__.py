"""A run: assembled, trained loop after loop, saved, resumed and scored again."""
