"""``python -m scripts.simulator``: serve the providers on the loopback interface until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from scripts.simulator import build_world, environment, replayed
from scripts.simulator.faults import ANSWER_KINDS, BAR_KINDS, Fault
from scripts.simulator.server import Server

EXAMPLE = '{"kind":"status","status":429,"provider":"binance-spot","count":3}'


class Data(StrEnum):
    demo = "demo"
    shared = "shared"
    synthetic = "synthetic"
    load = "load"


HELP = {
    "data": "demo: real daily stocks 2000-2013 and synthetic crypto. shared: recorded data. synthetic: made-up stocks "
    "and crypto up to now. load: 100 synthetic coins and stocks, no limits.",
    "clock": "The providers' present, ISO 8601. Default: WAREHOUSE_NOW, else the data set's own "
    "(demo: 2013-03-02T02:00:00Z), else real time.",
    "faults": f"A fault as JSON, repeatable: {EXAMPLE}. --list-faults explains them.",
    "replay": "Serve what `market record` wrote into this folder, instead of a data set.",
    "env_file": "Also write the settings to this file, one NAME=value a line.",
}


def main(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 8900,
    data: Annotated[Data, typer.Option(help=HELP["data"])] = Data.demo,
    clock: Annotated[str | None, typer.Option(help=HELP["clock"])] = None,
    faults: Annotated[list[str] | None, typer.Option(help=HELP["faults"])] = None,
    polygon_per_minute: Annotated[int | None, typer.Option(help="Polygon's request limit; unset: none.")] = None,
    shared: Annotated[Path, typer.Option(help="Folder of recorded data, for --data shared.")] = Path("../shared/data"),
    env_file: Annotated[Path | None, typer.Option(help=HELP["env_file"])] = None,
    replay: Annotated[Path | None, typer.Option(help=HELP["replay"])] = None,
    list_faults: Annotated[bool, typer.Option("--list-faults", help="Explain each kind of fault and stop.")] = False,
) -> None:
    """Serve Polygon, Binance, Yahoo and Coin Metrics on the loopback interface, with no network.

    Prints the settings that point the extract at it. While it runs, POST /_simulator/faults switches faults on,
    POST /_simulator/clock moves its clock, GET /_simulator/requests tells what was asked.
    """
    out = Console(highlight=False, soft_wrap=True)
    if list_faults:
        for name, text in (ANSWER_KINDS | BAR_KINDS).items():
            out.print(f"[bold]{name:11}[/] {text}", markup=True)
        return
    try:
        world = replayed(replay, clock) if replay else build_world(data.value, clock, polygon_per_minute, shared)
        for text in faults or []:
            parsed = orjson.loads(text)
            for item in parsed if isinstance(parsed, list) else [parsed]:
                world.faults.add(Fault.parse(item))
    except (ValueError, FileNotFoundError) as problem:
        raise typer.BadParameter(str(problem)) from None
    fixed = None if world.fixed_clock is None else world.now().isoformat().replace("+00:00", "Z")

    async def serve() -> None:
        server = Server(world)
        bound = await server.start(port)
        url = f"http://127.0.0.1:{bound}"
        settings = environment(url, fixed)
        if env_file:
            env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        served = f"answers of {replay}" if replay else f"data set {data.value}"
        print(f"# Market data simulator: {served}, clock {fixed or 'real time'}. Paste these lines:")
        for name, value in settings.items():
            print(f"export {name}={value}")
        print(f"# What it serves: {url}/_simulator/info . Ctrl-C stops it.", flush=True)
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await stopped.wait()
        await server.stop()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    typer.run(main)
