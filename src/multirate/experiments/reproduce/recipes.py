"""The recipes by name; imports nothing, so that ``multirate reproduce --help`` answers at once."""

import importlib
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from multirate.errors import UsageError

if TYPE_CHECKING:
    from multirate.experiments.reproduce.recipe import Recipe

ALL = "all"
_HERE = "multirate.experiments.reproduce"

# Modules with a RECIPE.
RECIPES: dict[str, str] = {
    "fig1": f"{_HERE}.fig1",
    "fig4": f"{_HERE}.fig4",
    "fig5": f"{_HERE}.fig5",
    "fig6": f"{_HERE}.fig6",
    "fig7": f"{_HERE}.fig7",
    "fig8": f"{_HERE}.fig8",
    "fig9": f"{_HERE}.fig9",
    "table1": f"{_HERE}.table1",
    "table2": f"{_HERE}.table2",
}


def recipe_names(names: Sequence[str]) -> tuple[str, ...]:
    """Check names of recipes.

    Args:
        names: of recipes, or ``all``.

    Returns:
        Each recipe once, in the order of the names.

    Raises:
        UsageError: if there is none, or a name is unknown.
    """
    if not names:
        raise UsageError(f"name what to reproduce: {', '.join(RECIPES)}, or {ALL}")
    for name in names:
        if name != ALL and name not in RECIPES:
            near = get_close_matches(name, RECIPES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(RECIPES)}, or {ALL}"
            raise UsageError(f"no recipe {name!r}; {hint}")
    return tuple(dict.fromkeys(one for name in names for one in (RECIPES if name == ALL else (name,))))


def load_recipe(name: str) -> "Recipe":
    """Import a recipe.

    Args:
        name: as in :data:`RECIPES`.

    Raises:
        UsageError: if the name is unknown.
    """
    (known,) = recipe_names((name,)) if name != ALL else ("",)
    if not known:
        raise UsageError(f"{ALL} is not one recipe; choose from {', '.join(RECIPES)}")
    recipe: Recipe = importlib.import_module(RECIPES[known]).RECIPE
    return recipe
