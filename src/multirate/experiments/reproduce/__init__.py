"""The paper's figures and tables, each a recipe: runs declared as data, a figure, and what the paper claims of it."""
