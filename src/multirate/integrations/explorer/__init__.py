"""The explorer: a folder that any web server can serve, in which one drags beta and sees what the model makes of it."""

from multirate.integrations.explorer.build import Explorer, explore_run, write_explorer
from multirate.integrations.explorer.server import Server

__all__ = ["Explorer", "Server", "explore_run", "write_explorer"]
