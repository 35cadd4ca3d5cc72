"""``python -m proving_ground.demo all | dev | down``: all environments, one of them, or stop what was started."""

from __future__ import annotations

import sys

from rich.console import Console

from proving_ground import lifecycle
from proving_ground.airflow import AirflowError
from proving_ground.control_plane.build import BuildError
from proving_ground.demo import environments, short, stage
from proving_ground.demo.rotations import DemoError
from proving_ground.demo.teller import Teller

FORMS = {short.ENVIRONMENT: short.run, "all": environments.run}


def main() -> int:
    """Run the demo, or stop what it started.

    :return: 0 if every rotation succeeded and the observers found nothing wrong.
    """
    console = Console(highlight=False)
    asked = " ".join(sys.argv[1:])
    if asked == "down":
        stopped = stage.down()
        console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
        return 0
    if asked not in FORMS:
        console.print(f"[red]demo: there is no form {asked!r}: make demo, or make demo ENVIRONMENT=dev[/red]")
        return 1
    try:
        return FORMS[asked](Teller(console))
    except (DemoError, AirflowError, BuildError, lifecycle.LifecycleError) as error:
        console.print(f"[red]demo: {error}[/red]", soft_wrap=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
