"""Long-running harnesses: `python -m torture.NAME --help`; their records are in torture/results/."""
