"""`aakit track`: the curves of a run that is there, sent to a tracker."""

from pathlib import Path
from typing import Any

from typer import Argument, Option

from ..contracts.errors import UserError
from ..experiment import checked
from ..experiment.check import ComponentConfig, check_tracker_table
from ..plugin_host.registry import Registry
from .list_plugins import EXPERIMENT_HELP, registry_with
from .terminal import say


def track(
    run: Path = Argument(help="Folder of a run."),
    to: str = Option(help="Tracker: csv, tensorboard, mlflow, wandb, or a plugin's."),
    overrides: list[str] = Option([], "--set", help="An option of the tracker: --set folder=curves; may be repeated."),
    experiment: Path | None = Option(None, "--experiment", help=EXPERIMENT_HELP),
) -> None:
    """Send what a run has written down to a tracker; what it was sent before, live too, is not sent again."""
    from ..tracking.deliver import Delivery, check_run
    from ..tracking.place import Place, table_of, tables_of

    check_run(run)
    chosen = _chosen(to, tables_of(run), overrides, registry_with(experiment))
    try:
        tracker = chosen.component.build(chosen.options)
    except UserError as error:
        where = "--to" if error.where in (None, "use") else f"--set {error.where}"
        raise UserError(error.problem, where=where, fix=error.fix) from error
    place = Place.of(run, to, table_of(chosen))
    with place.alone():
        delivery = Delivery(run, chosen.component, tracker, place)
        before = delivery.sent.events
        if delivery.is_complete():
            return say(
                f"{to} has everything of this run already; remove {place.path} and it is sent again, as a new one"
            )
        delivery.begin()
        delivery.events()
        delivery.end()
        sent = delivery.sent
    say(f"{to}: {sent.events - before:,} events and {sent.pictures} pictures are sent; its files and log: {place.path}")
    if sent.id:
        say(f"{to} knows the run as {sent.id}")


def _chosen(name: str, tables: list[dict[str, Any]], overrides: list[str], registry: Registry) -> ComponentConfig:
    """The tracker with its options: those that the run had it with, changed as the command says."""
    registry.get("tracker", name, "--to")
    table = next((table for table in tables if table.get("use") == name), {"use": name})
    keys = [f"tracker.{override}" for override in overrides]

    def check(tables: dict[str, Any]) -> ComponentConfig:
        return check_tracker_table(tables["tracker"], registry, "--set")

    return checked({"tracker": table}, keys, check)
