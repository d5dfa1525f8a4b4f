"""`market add`, `remove`, `list`: the registry by commands; and the seed of exchange holidays."""
