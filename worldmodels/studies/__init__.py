"""Runnable experiments: a claim, a rule written before the run, and a verdict with statistics."""
