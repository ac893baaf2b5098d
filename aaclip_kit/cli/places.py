"""Options that say where a command's runs are done."""

from collections.abc import Set

from typer import Context

JOBS_HELP = "At once, each with its share of the threads; on a cluster at most so many."
DEVICES_HELP = "One run a GPU: so many of them, or those named, as 0,1,2,3."
ON_HELP = "As tasks of a cluster: slurm or ray; local tries on this machine what slurm would do."
RESOURCES_HELP = "With --on, what each is given: cpus=4,gpus=1, and for Slurm partition=NAME,minutes=60, ..."

ELSEWHERE = frozenset({"--on", "--jobs", "--devices", "--resources"})
"""Options that a task's own command does not have."""


def words_again(context: Context, leave_out: Set[str], *arguments: str) -> tuple[str, ...]:
    """Return the words of the command that runs now, after `aakit`, but for these options; those given stay as given.

    `arguments` stand in the place of its own, where there are any.
    """
    words, own = [str(context.info_name)], list[str]()
    for parameter in context.command.params:
        value, option = context.params.get(str(parameter.name)), parameter.opts[0]
        values = value if isinstance(value, list | tuple) else [value]
        if parameter.param_type_name == "argument":
            own += map(str, values)
        elif option not in leave_out and value != parameter.get_default(context):
            for one in values:
                words += [option] if one is True else [option, str(getattr(one, "value", one))]
    return (*words, "--", *(arguments or own))
