"""A warehouse for a whole module: building one takes longer than all that is asked of it here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from scripts.postgres import Server
from tests.warehouse import Database, Project, Warehouse


@pytest.fixture(scope="module")
def make_module_warehouse(postgres: Server, projects: Callable[[str], Project]) -> Iterator[Callable[[str], Warehouse]]:
    made: list[Warehouse] = []

    def make(name: str) -> Warehouse:
        warehouse = Warehouse(Database(postgres, name), projects(name))
        warehouse.reset()
        made.append(warehouse)
        return warehouse

    yield make
    for warehouse in made:
        warehouse.database.drop()
