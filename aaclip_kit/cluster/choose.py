"""The place that `--on`, `--jobs`, `--devices` and `--resources` mean."""

import os
from collections.abc import Callable
from typing import Final

from ..contracts.errors import UserError, unknown
from .here import Here
from .ray_nodes import RayNodes
from .resources import WHERE, Resources, chosen_devices
from .slurm import Jobs
from .task import Place

PLACES: Final = ("slurm", "ray", "local")
"""What `--on` takes; `local` is submitit on this machine: to try what would be queued."""


def chosen_place(
    on: str | None, jobs: int | None, devices: str | None, resources: str | None, say: Callable[[str], None]
) -> Place | None:
    """Return where tasks run; None: in this process, one after another.

    `say` gets a line where a place has one to tell. Raises `UserError` for options that do not go together, an extra
    that is not installed, and a cluster that is not there.
    """
    if on is None:
        if resources is not None:
            raise UserError("is for a cluster", where=WHERE, fix=f"give --on {', '.join(PLACES)} too")
        return _here(jobs, devices)
    if devices is not None:
        raise UserError("is for this machine", where="--devices", fix=f"give --resources gpus=1 with --on {on}")
    asked = Resources.read(resources)
    place: Jobs | RayNodes
    if on == "ray":
        place = RayNodes(asked, jobs, say)
    elif on == "slurm":
        place = Jobs("slurm", asked, jobs, say)
    elif on == "local":
        place = Jobs("local", asked, jobs, say)
    else:
        raise unknown(on, "place", list(PLACES), "--on")
    place.check()
    return place


def _here(jobs: int | None, devices: str | None) -> Here | None:
    if devices is None:
        return None if jobs in (None, 1) else Here(jobs or 1)
    named = chosen_devices(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if jobs is not None and jobs > len(named):
        fix = f"give --jobs {len(named)} at most, or more devices"
        raise UserError(f"{jobs} runs at once are more than the {len(named)} devices", where="--jobs", fix=fix)
    return Here(jobs or len(named), named)
