"""Parts of the fleet file that have a module of their own, and complaints about it."""
