"""`aakit data import`: masks and a list from what annotation programs write."""

from pathlib import Path
from typing import TYPE_CHECKING

from typer import Argument, Option

from ..annotations.decisions import Annotators, Crowds, Decisions, Nothing
from ..contracts.errors import UserError, UserErrors, shortened
from .scoring import OnBadImage
from .signals import ended_by_signals
from .terminal import say

if TYPE_CHECKING:
    from ..annotations.import_masks import Imported

_FILE_HELP = "JSON of COCO, LabelMe or Label Studio, CVAT's zip of masks, or a folder of LabelMe's or YOLO's files."


def import_masks(
    file: Path = Argument(help=_FILE_HELP),
    images: Path = Option(..., "--images", help="Folder of the images, searched to any depth."),
    out: Path = Option(..., "--out", help="Folder to write; it must be new or empty."),
    class_name: str | None = Option(None, "--class", help="What all of the images show, such as lid."),
    class_of_folder: bool = Option(
        False, "--class-of-folder", help="An image's class is the first folder, below --images, that it lies in."
    ),
    empty: Nothing | None = Option(None, "--empty", help="What images are that are annotated with nothing marked."),
    unannotated: Nothing | None = Option(None, "--unannotated", help="What images are that nobody has annotated."),
    crowds: Crowds | None = Option(None, "--crowds", help="What the pixels of COCO's crowds are."),
    annotators: Annotators | None = Option(
        None, "--annotators", help="Whose marks count where several annotated an image."
    ),
    defects: list[str] = Option([], "--defect", help="Label that is a defect, and no other is; may be repeated."),
    ignored: list[str] = Option([], "--ignore", help="Label whose pixels count as nothing; may be repeated."),
    on_bad_image: OnBadImage = Option(OnBadImage.error, "--on-bad-image", help="Stop at bad images, or skip them."),
) -> None:
    """Make masks, and a list for data set manifest, from annotations. What they leave open must be said."""
    from ..annotations.import_masks import LIST
    from ..annotations.import_masks import import_masks as made_of
    from ..data.checks import first_faults

    if class_name is not None and class_of_folder:
        raise UserError("says what --class says too", where="--class-of-folder", fix="give one of the two")
    decisions = Decisions(
        class_name=class_name, class_of_folder=class_of_folder, empty=empty, unannotated=unannotated, crowds=crowds,
        annotators=annotators, defects=tuple(defects), ignored=tuple(ignored),
    )  # fmt: skip
    skip = on_bad_image is OnBadImage.skip
    try:
        with ended_by_signals() as stop:
            made = made_of(file, images, out, decisions, skip_bad=skip, before_each=stop.raise_if_asked)
    except UserErrors as error:
        raise UserErrors(first_faults(error.faults, len(error.faults))) from None
    _show(made, decisions)
    say(f'wrote {out}; to use it: use = "manifest", manifest = "{out / LIST}"')


def _show(made: "Imported", decisions: Decisions) -> None:
    """Print the counts, what became of each label, remarks, and what was left out."""
    say(f"{made.program}: {made.anomalous} anomalous images with masks, {made.normal} normal")
    for label, count in sorted(made.labels.items()):
        counts_as = "ignored" if label in decisions.ignored else "a defect"
        if decisions.defects and label not in (*decisions.defects, *decisions.ignored):
            counts_as = "nothing"
        say(f"label       {shortened(label, 80)}: {count} marks, which count as {counts_as}")
    for line in made.tally.lines():
        say(f"note        {line}")
    for fault in made.skipped:
        say(f"skipped     {fault.where}: {fault.problem}")
