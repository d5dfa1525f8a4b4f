"""One package per provider, and in base.py what the others know of any of them."""
