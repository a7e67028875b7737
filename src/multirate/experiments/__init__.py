"""Recipes: a run from its specification to its report, sweeps of baselines, the quickstart."""
