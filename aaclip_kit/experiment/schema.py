"""The engine's own tables of an experiment file. Tables of components are checked by their plugins' options models."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ..contracts.options import Indices, Options
from .toml_file import expanded

FilePath = Annotated[Path, Field(strict=False), AfterValidator(expanded)]
Probability = Annotated[float, Field(ge=0, le=1)]
TextContextForm = Literal["unit", "raw"]
ComponentTable = dict[str, Any]

ActsOn = Literal["training", "scoring", "metrics", "record", "execution"]
"""What a key acts on: the trained weights; an image's scores; figures made of scores; what a run writes down beside
them; how the work of scoring is done."""

Effect = tuple[ActsOn, ...]
TRAINING: Effect = ("training",)
SCORING: Effect = ("scoring",)
METRICS: Effect = ("metrics",)
RECORD: Effect = ("record",)
EXECUTION: Effect = ("execution",)
NOTHING: Effect = ()
"""Said beside each key; a key that acts on nothing changes how training is done, and no result."""


def key(acts_on: Effect, default: Any, description: str, **bounds: Any) -> Any:
    """Return the field of a key: what it acts on, its default (... where it is required), what it means, its bounds."""
    return Field(default, description=description, json_schema_extra={"acts_on": [*acts_on]}, **bounds)


def _names_must_be_plain(tables: Any) -> Any:
    """Names become parts of tensor names and events, so dots and blanks would be ambiguous."""
    for name in tables if isinstance(tables, dict) else ():
        if len(name) > 200:
            raise ValueError("a name has more than 200 characters")
        if not name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"the name '{name}' may hold letters, digits, '_' and '-' only")
    return tables


NamedTables = Annotated[dict[str, ComponentTable], BeforeValidator(_names_must_be_plain)]


def _one_or_several(tables: Any) -> Any:
    """What is neither a table nor an array of tables is told of in one line, not once for each form."""
    if isinstance(tables, list) and not tables:
        raise ValueError("the array is empty: it names no data set")
    if not all(isinstance(table, dict) for table in (tables if isinstance(tables, list) else [tables])):
        raise ValueError("input should be a table, or an array of tables")
    return tables


DataTables = Annotated[ComponentTable | list[ComponentTable], BeforeValidator(_one_or_several)]
"""`[data.ROLE]`, or several `[[data.ROLE]]`."""


class Switches(Options):
    """Published defects and their corrected forms, one switch each (the defaults are profile `corrected`)."""

    surgery_attention: Literal["tokens", "batch"] = key(
        TRAINING + SCORING, "tokens", "V-V attention of frozen features across one image's tokens, or across the batch"
    )
    text_loss_levels: Literal["all", "last"] = key(
        TRAINING, "all", "levels that the text phase's segmentation loss sums over"
    )
    image_context: Literal["own", "batch_mean"] = key(
        TRAINING + SCORING, "own", "image context of the text stage: each image's own, or the mean of the batch"
    )
    text_context_padding: Literal["masked", "attended"] = key(
        TRAINING + SCORING, "masked", "tokens after end-of-text in the text context"
    )
    trained_context: Literal["as_trained", "one_block_more"] = key(
        TRAINING + SCORING,
        "as_trained",
        "image features of the text phase from loop 2 on: with the vision attention on, or with it off and the "
        "image context one block further",
    )
    evaluation_attention: bool = key(SCORING, True, "vision attention stages act when images are scored")
    dropout: bool = key(TRAINING, True, "dropout acts in training")
    checkpoint_mismatch: Literal["error", "ignore"] = key(
        TRAINING, "error", "an [init] checkpoint that does not fit: stop, or go on without it"
    )
    checkpoint_format: Literal["safetensors", "pickle"] = key(RECORD, "safetensors", "format of checkpoints")
    one_label_auroc: Literal["undefined", "zero"] = key(
        METRICS, "undefined", "image metrics of a class that has one label only"
    )
    reported_loop: Literal["last", "best_on_test"] = key(
        RECORD, "last", "which loop's result is reported: the last, or the best on the test data"
    )
    score_normalisation: Literal["none", "test_set"] = key(
        METRICS,
        "none",
        "raw scores, or min-max over a class's whole test set, whose published mix then stands in for "
        "evaluation.image_score",
    )


PUBLISHED_SWITCHES: dict[str, Any] = {
    "surgery_attention": "batch",
    "text_loss_levels": "last",
    "image_context": "batch_mean",
    "text_context_padding": "attended",
    "trained_context": "one_block_more",
    "evaluation_attention": False,
    "dropout": False,
    "checkpoint_mismatch": "ignore",
    "checkpoint_format": "pickle",
    "one_label_auroc": "zero",
    "reported_loop": "best_on_test",
    "score_normalisation": "test_set",
}

PUBLISHED_BACKBONE: dict[str, Any] = {"activation": "gelu"}
"""Set by profile `published` where the backbone's options have such a key."""


class ModelTable(Options):
    """What every method on this backbone shares."""

    levels: Indices | None = key(
        TRAINING + SCORING, None, "levels read, in blocks; by default the four quarters of the depth", min_length=1
    )
    text_context: TextContextForm = key(
        TRAINING + SCORING, "unit", "tokens of the text context of vision stages: each divided by its norm, or raw"
    )


class TrainingTable(Options):
    """How training is watched."""

    on_nan: Literal["stop", "skip"] = key(
        TRAINING,
        "stop",
        "a step whose loss or gradients are not finite: stop, and leave it in a folder that repeats it, or go on "
        "without it",
    )
    most_skips: int = key(TRAINING, 10, "with on_nan = skip: steps of a run that may be left out", ge=1)

    adapter_gradient_floor: float = key(
        RECORD,
        1e-8,
        "a run warns, once, when an adapter stage's gradient norm is not above this; the default is Adam's "
        "epsilon, below which every step of every weight is less than half the rate",
        ge=0,
    )


class AugmentationTable(Options):
    """Training augmentation; each kind acts with the stated probability."""

    geometry: Probability = key(TRAINING, 0.5, "probability of each: rotation, translation, both flips")
    rotation: float = key(TRAINING, 30.0, "largest rotation in degrees", ge=0, le=180)
    translation: float = key(TRAINING, 0.15, "largest translation, a fraction of the side", ge=0, lt=1)
    color: Probability = key(TRAINING, 0.7, "probability of each: brightness, contrast, saturation (vision phase)")
    jitter: float = key(TRAINING, 0.5, "strength of brightness, contrast and saturation changes", ge=0, lt=1)
    views: int = key(
        TRAINING,
        0,
        "augmented views of each image, drawn by the seed and used in turn, epoch after epoch, so that their "
        "frozen features can be kept; 0 draws a new view for every epoch",
        ge=0,
    )


class CacheTable(Options):
    """Where frozen features are kept so that they are made once; results do not depend on it (docs/guide/cache.md)."""

    features: Literal["off", "memory", "disk"] = key(
        NOTHING, "memory", "not kept, kept in memory until the run ends, or in a folder that later runs share"
    )
    memory_gb: float = key(NOTHING, 4.0, "most that memory keeps, in GB (1e9 bytes)", gt=0, le=1e6)
    disk_gb: float = key(NOTHING, 50.0, "most that the folder may hold, in GB (1e9 bytes)", gt=0, le=1e6)
    folder: FilePath | None = key(
        NOTHING, None, "the folder; by default $AAKIT_CACHE/features, or aaclip_kit/features in the user's cache folder"
    )


class ComputeTable(Options):
    """How the work is done; results differ by rounding only (docs/guide/performance.md)."""

    fused_residual: Literal["off", "on"] = key(
        TRAINING + EXECUTION,
        "off",
        "stages join the stream by torch's operations, or by one Triton kernel on a CUDA device. It has "
        "never run on a GPU, and is off until a measurement there shows a gain; a trained model goes without where it "
        "cannot run",
    )
    recompute: Literal["auto", "on", "off"] = key(
        NOTHING,
        "auto",
        "training keeps the input of each vision block alone and runs the block again for its gradients; auto "
        "does so where a step would not fit into memory otherwise",
    )
    memory_gb: float | None = key(
        NOTHING,
        None,
        "memory that auto lets a training step use, weights included, in GB (1e9 bytes); by default what is free,"
        " less a margin",
        gt=0,
        le=1e6,
    )


class EvaluationTable(Options):
    """How images are scored."""

    batch_size: int = key(EXECUTION, 16, "images scored at once", ge=1)
    text_conditioning: Literal["none", "image"] = key(
        SCORING, "none", "text features of a scored image: the class's, or conditioned on the image by the text stage"
    )
    image_score: Literal["detection", "map", "mean"] = key(
        SCORING,
        "mean",
        "image score: the detection feature's, the largest map value, or the mean of the first and the "
        "probability that the second stands for",
    )
    blur: bool = key(SCORING, True, "Gaussian blur of each level's map, by the data set's domain")
    heatmaps: int = key(RECORD, 16, "test images drawn as heatmaps at the end", ge=0, le=1000)


class CalibrationTable(Options):
    """How the thresholds of a trained model are chosen, on held-out images of the source and never on test data."""

    rule: Literal["f1max", "fpr"] = key(RECORD, "f1max", "thresholds of the largest F1, or of a false-positive rate")
    fpr: float = key(RECORD, 0.01, "the false-positive rate of rule fpr", gt=0, lt=1)
    held_out: float = key(
        TRAINING,
        0.1,
        "without data.calibration and data.validation: share of the training images of each class and label that "
        "is drawn by the seed and kept out of training; 0 stores no threshold",
        ge=0,
        lt=1,
    )


class CheckpointTable(Options):
    """How much of a run is lost when it dies: `aakit run --resume` goes on from the last state that was saved."""

    every: str = key(
        NOTHING,
        "5 minutes",
        'how often the whole state is saved within a phase: "5 minutes", "100 steps", or "never"; it is saved after '
        "each phase and each evaluation as well",
        pattern=r"^(never|[1-9]\d{0,8} steps?|\d{1,9}(\.\d{1,9})? minutes?)$",
    )


class InitTable(Options):
    """What the weights start from."""

    checkpoint: FilePath | None = key(
        TRAINING, None, "checkpoint, or folder, of an earlier run; stages it lacks start fresh"
    )


class DataTable(Options):
    """Data sets by role: one table each, `[data.train]`, or several, `[[data.train]]` again and again.

    Validation and calibration are optional; no choice is ever made on test data.
    """

    train: DataTables = key(TRAINING, ..., "images that are trained on: a table with `use` and its options, or several")
    test: DataTables = key(
        METRICS, ..., "images that results are quoted on: a table with `use` and its options, or several"
    )
    validation: DataTables | None = key(
        TRAINING, None, "images that choices may be made on: a table with `use` and its options, or several"
    )
    reference: DataTables | None = key(
        RECORD,
        None,
        "normal images of the test classes that the memory of [reference] is filled with: a table with `use` and its "
        "options, or several; `shots = k` draws k of each class",
    )
    allow_overlap: bool = key(
        TRAINING + METRICS,
        False,
        "go on where two roles share an image or are the same data set; the report says so in red",
    )
    calibration: DataTables | None = key(
        TRAINING, None, "images that thresholds are chosen on: a table with `use` and its options, or several"
    )


class LossTables(Options):
    """Losses of each phase, by a name of the file's own."""

    text: NamedTables = key(TRAINING, {}, "losses of text phases: tables with `use`, options and `weight`")
    vision: NamedTables = key(TRAINING, {}, "losses of vision phases: tables with `use`, options and `weight`")
    both: NamedTables = key(TRAINING, {}, "losses of phases that train both: tables with `use`, options and `weight`")


class ExperimentFile(Options):
    """One experiment: everything that a run needs."""

    name: str = key(RECORD, ..., "name of the run, and of its folder", pattern=r"^[A-Za-z0-9_.-]{1,200}$")
    seed: int = key(TRAINING, 111, "seed of weights, order and augmentation", ge=0, lt=2**63)
    profile: Literal["corrected", "published"] = key(NOTHING, "corrected", "sets every switch")
    device: str = key(
        TRAINING + EXECUTION, "auto", "auto, cpu, cuda or cuda:N", pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = key(
        TRAINING + EXECUTION, "auto", "autocast precision; auto is bf16 on CUDA devices that have it, else fp32"
    )
    plugins: Annotated[tuple[FilePath, ...], Field(strict=False)] = key(
        TRAINING, (), "Python files with plugins, loaded because this file names them; paths start from its folder"
    )
    workers: int = key(EXECUTION, 0, "processes that decode images; 0 decodes in the main one", ge=0, le=64)
    switches: Switches = Field(Switches(), description="table of switches; see profile")
    backbone: ComponentTable = key(TRAINING + SCORING, ..., "the frozen model: a table with `use` and its options")
    model: ModelTable = Field(ModelTable(), description="table of the levels that are read")
    prompts: ComponentTable = key(
        TRAINING + SCORING,
        {"use": "ensemble"},
        "what makes text features of class names: a table with `use` and its options",
    )
    head: ComponentTable = key(
        TRAINING + SCORING, {"use": "projections"}, "what makes maps and scores: a table with `use` and its options"
    )
    reference: ComponentTable | None = key(
        SCORING,
        None,
        "a memory of the normal images of data.reference, which scores too: a table with `use` and its options; by "
        "default none",
    )
    stages: NamedTables = key(
        TRAINING + SCORING, {}, "tables [stages.NAME] with `use` and its options; NAME is the file's own"
    )
    losses: LossTables = Field(
        LossTables(), description="tables [losses.text.NAME], [losses.vision.NAME] and [losses.both.NAME]"
    )
    scheduler: ComponentTable = key(TRAINING, ..., "the plan of the loops: a table with `use` and its options")
    data: DataTable = Field(
        description="tables [data.train], [data.test] and, if wanted, [data.validation], [data.calibration] and "
        "[data.reference]; "
        "[[data.train]] and so on where a role has several"
    )
    training: TrainingTable = Field(TrainingTable(), description="table of how training is watched")
    augmentation: AugmentationTable = Field(AugmentationTable(), description="table of training augmentation")
    cache: CacheTable = Field(CacheTable(), description="table of where frozen features are kept")
    compute: ComputeTable = Field(ComputeTable(), description="table of how the work is done")
    evaluation: EvaluationTable = Field(EvaluationTable(), description="table of scoring choices")
    calibration: CalibrationTable = Field(CalibrationTable(), description="table of how thresholds are chosen")
    checkpoint: CheckpointTable = Field(CheckpointTable(), description="table of how often a run's state is saved")
    init: InitTable = Field(InitTable(), description="table that names what the weights start from")
    trackers: list[ComponentTable] = key(
        NOTHING, [], "where curves go while the run trains: tables [[trackers]] with `use` and its options"
    )
