"""Small adapters to other libraries; each is an extra, imported by its own name."""
