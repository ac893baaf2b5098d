"""The engine's own tables of an experiment file. Tables of components are checked by their plugins' options models."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from ..contracts.options import Indices, Options
from .toml_file import expanded

FilePath = Annotated[Path, Field(strict=False), AfterValidator(expanded)]
Probability = Annotated[float, Field(ge=0, le=1)]
TextContextForm = Literal["unit", "raw"]
ComponentTable = dict[str, Any]


ActsOn = Literal["training", "scoring", "metrics", "record", "execution"]
"""What a key acts on: the trained weights; an image's scores; figures made of scores; what a run writes down beside
them; how the work of scoring is done."""


def effect(*kinds: ActsOn) -> dict[str, JsonValue]:
    """Say beside a key what it acts on; a key that acts on nothing changes how training is done, and no result."""
    return {"acts_on": list(kinds)}


def _names_must_be_plain(tables: Any) -> Any:
    """Names become parts of tensor names and events, so dots and blanks would be ambiguous."""
    for name in tables if isinstance(tables, dict) else ():
        if not name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"the name '{name}' may hold letters, digits, '_' and '-' only")
    return tables


NamedTables = Annotated[dict[str, ComponentTable], BeforeValidator(_names_must_be_plain)]


class Switches(Options):
    """Published defects and their corrected forms, one switch each (the defaults are profile `corrected`)."""

    surgery_attention: Literal["tokens", "batch"] = Field(
        "tokens",
        description="V-V attention of frozen features across one image's tokens, or across the batch",
        json_schema_extra=effect("training", "scoring"),
    )
    text_loss_levels: Literal["all", "last"] = Field(
        "all",
        description="levels that the text phase's segmentation loss sums over",
        json_schema_extra=effect("training"),
    )
    image_context: Literal["own", "batch_mean"] = Field(
        "own",
        description="image context of the text stage: each image's own, or the mean of the batch",
        json_schema_extra=effect("training", "scoring"),
    )
    text_context_padding: Literal["masked", "attended"] = Field(
        "masked",
        description="tokens after end-of-text in the text context",
        json_schema_extra=effect("training", "scoring"),
    )
    trained_context: Literal["as_trained", "one_block_more"] = Field(
        "as_trained",
        description="image features of the text phase from loop 2 on: with the vision attention on, "
        "or with it off and the image context one block further",
        json_schema_extra=effect("training", "scoring"),
    )
    evaluation_attention: bool = Field(
        True, description="vision attention stages act when images are scored", json_schema_extra=effect("scoring")
    )
    dropout: bool = Field(True, description="dropout acts in training", json_schema_extra=effect("training"))
    checkpoint_mismatch: Literal["error", "ignore"] = Field(
        "error",
        description="an [init] checkpoint that does not fit: stop, or go on without it",
        json_schema_extra=effect("training"),
    )
    checkpoint_format: Literal["safetensors", "pickle"] = Field(
        "safetensors", description="format of checkpoints", json_schema_extra=effect("record")
    )
    one_label_auroc: Literal["undefined", "zero"] = Field(
        "undefined",
        description="image metrics of a class that has one label only",
        json_schema_extra=effect("metrics"),
    )
    quoted_loop: Literal["last", "best_on_test"] = Field(
        "last",
        description="which loop's result is quoted: the last, or the best on the test data",
        json_schema_extra=effect("record"),
    )
    score_normalisation: Literal["none", "test_set"] = Field(
        "none",
        description="raw scores, or min-max over a class's whole test set, whose published mix then stands in for "
        "evaluation.image_score",
        json_schema_extra=effect("metrics"),
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
    "quoted_loop": "best_on_test",
    "score_normalisation": "test_set",
}

PUBLISHED_BACKBONE: dict[str, Any] = {"activation": "gelu"}
"""Set by profile `published` where the backbone's options have such a key."""


class ModelTable(Options):
    """Levels and projections that every method on this backbone shares."""

    levels: Indices | None = Field(
        None,
        min_length=1,
        description="levels read, counted in blocks; by default the four quarters of the depth",
        json_schema_extra=effect("training", "scoring"),
    )
    projection_activation: bool = Field(
        False,
        description="LeakyReLU after the segmentation and detection projections",
        json_schema_extra=effect("training", "scoring"),
    )
    text_context: TextContextForm = Field(
        "unit",
        description="tokens of the text context that vision stages attend to: each divided by its norm, or raw",
        json_schema_extra=effect("training", "scoring"),
    )


class TrainingTable(Options):
    """How training is watched."""

    on_nan: Literal["stop", "skip"] = Field(
        "stop",
        description="a step whose loss or gradients are not finite: stop, and leave it in a folder that repeats it, or "
        "go on without it",
        json_schema_extra=effect("training"),
    )
    most_skips: int = Field(
        10,
        ge=1,
        description="with on_nan = skip: steps of a run that may be left out",
        json_schema_extra=effect("training"),
    )

    adapter_gradient_floor: float = Field(
        1e-8,
        ge=0,
        description="a run warns, once, when an adapter stage's gradient norm is not above this; the default is Adam's "
        "epsilon, below which every step of every weight is less than half the rate",
        json_schema_extra=effect("record"),
    )


class AugmentationTable(Options):
    """Training augmentation; each kind acts with the stated probability."""

    geometry: Probability = Field(
        0.5, description="probability of each: rotation, translation, both flips", json_schema_extra=effect("training")
    )
    rotation: float = Field(
        30.0, ge=0, le=180, description="largest rotation in degrees", json_schema_extra=effect("training")
    )
    translation: float = Field(
        0.15,
        ge=0,
        lt=1,
        description="largest translation, a fraction of the side",
        json_schema_extra=effect("training"),
    )
    color: Probability = Field(
        0.7,
        description="probability of each: brightness, contrast, saturation (vision phase)",
        json_schema_extra=effect("training"),
    )
    jitter: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="strength of brightness, contrast and saturation changes",
        json_schema_extra=effect("training"),
    )
    views: int = Field(
        0,
        ge=0,
        description="augmented views of each image, drawn by the seed and used in turn, epoch after epoch, so that "
        "their frozen features can be kept; 0 draws a new view for every epoch",
        json_schema_extra=effect("training"),
    )


class CacheTable(Options):
    """Where frozen features are kept so that they are made once; results do not depend on it (docs/guide/cache.md)."""

    features: Literal["off", "memory", "disk"] = Field(
        "memory",
        description="not kept, kept in memory until the run ends, or in a folder that later runs share",
        json_schema_extra=effect(),
    )
    memory_gb: float = Field(
        4.0, gt=0, le=1e6, description="most that memory keeps, in GB (1e9 bytes)", json_schema_extra=effect()
    )
    disk_gb: float = Field(
        50.0, gt=0, le=1e6, description="most that the folder may hold, in GB (1e9 bytes)", json_schema_extra=effect()
    )
    folder: FilePath | None = Field(
        None,
        description="the folder; by default $AAKIT_CACHE/features, or aaclip_kit/features in the user's cache folder",
        json_schema_extra=effect(),
    )


class ComputeTable(Options):
    """How the work is done; results differ by rounding only (docs/guide/performance.md)."""

    fused_residual: Literal["off", "on"] = Field(
        "off",
        description="stages join the stream by torch's operations, or by one Triton kernel on a CUDA device; off until "
        "a measurement on a GPU shows a gain; a trained model goes without the kernel where it cannot run",
        json_schema_extra=effect("training", "execution"),
    )
    recompute: Literal["auto", "on", "off"] = Field(
        "auto",
        description="training keeps the input of each vision block alone and runs the block again for its gradients; "
        "auto does so where a step would not fit into memory otherwise",
        json_schema_extra=effect(),
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="memory that auto lets a training step use, weights included, in GB (1e9 bytes); by default what "
        "is free, less a margin",
        json_schema_extra=effect(),
    )


class EvaluationTable(Options):
    """How images are scored."""

    batch_size: int = Field(16, ge=1, description="images scored at once", json_schema_extra=effect("execution"))
    text_conditioning: Literal["none", "image"] = Field(
        "none",
        description="text features of a scored image: the class's, or conditioned on the image by the text stage",
        json_schema_extra=effect("scoring"),
    )
    image_score: Literal["detection", "map", "mean"] = Field(
        "mean",
        description="image score: the detection feature's, the largest map value, or the mean of the first and the "
        "probability that the second stands for",
        json_schema_extra=effect("scoring"),
    )
    blur: bool = Field(
        True,
        description="Gaussian blur of each level's map, by the data set's domain",
        json_schema_extra=effect("scoring"),
    )
    heatmaps: int = Field(
        16, ge=0, description="test images drawn as heatmaps at the end", json_schema_extra=effect("record")
    )


class CalibrationTable(Options):
    """How the thresholds of a trained model are chosen, on held-out images of the source and never on test data."""

    rule: Literal["f1max", "fpr"] = Field(
        "f1max",
        description="thresholds of the largest F1, or of a false-positive rate",
        json_schema_extra=effect("record"),
    )
    fpr: float = Field(
        0.01, gt=0, lt=1, description="the false-positive rate of rule fpr", json_schema_extra=effect("record")
    )
    held_out: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="without data.calibration and data.validation: share of the training images of each class and "
        "label that is drawn by the seed and kept out of training; 0 stores no threshold",
        json_schema_extra=effect("training"),
    )


class CheckpointTable(Options):
    """How much of a run is lost when it dies: `aakit run --resume` goes on from the last state that was saved."""

    every: str = Field(
        "5 minutes",
        pattern=r"^(never|[1-9]\d* steps?|\d+(\.\d+)? minutes?)$",
        description='how often the whole state is saved within a phase: "5 minutes", "100 steps", or "never"; it is '
        "saved after each phase and each evaluation as well",
        json_schema_extra=effect(),
    )


class InitTable(Options):
    """What the weights start from."""

    checkpoint: FilePath | None = Field(
        None,
        description="checkpoint, or folder, of an earlier run; stages it lacks start fresh",
        json_schema_extra=effect("training"),
    )


class DataTable(Options):
    """Data sets by role. Validation and calibration are optional; no choice is ever made on test data."""

    train: ComponentTable = Field(
        description="images that are trained on: a table with `use` and its options",
        json_schema_extra=effect("training"),
    )
    test: ComponentTable = Field(
        description="images that results are quoted on: a table with `use` and its options",
        json_schema_extra=effect("metrics"),
    )
    validation: ComponentTable | None = Field(
        None,
        description="images that choices may be made on: a table with `use` and its options",
        json_schema_extra=effect("training"),
    )
    allow_overlap: bool = Field(
        False,
        description="go on where two roles share an image or are the same data set; the report says so in red",
        json_schema_extra=effect("training", "metrics"),
    )
    calibration: ComponentTable | None = Field(
        None,
        description="images that thresholds are chosen on: a table with `use` and its options",
        json_schema_extra=effect("training"),
    )


class LossTables(Options):
    """Losses of each phase, by a name of the file's own."""

    text: NamedTables = Field(
        description="losses of the text phase: tables with `use`, options and `weight`",
        json_schema_extra=effect("training"),
    )
    vision: NamedTables = Field(
        description="losses of the vision phase: tables with `use`, options and `weight`",
        json_schema_extra=effect("training"),
    )


class ExperimentFile(Options):
    """One experiment: everything that a run needs."""

    name: str = Field(
        min_length=1,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="name of the run, and of its folder",
        json_schema_extra=effect("record"),
    )
    seed: int = Field(
        111,
        ge=0,
        lt=2**63,
        description="seed of weights, order and augmentation",
        json_schema_extra=effect("training"),
    )
    profile: Literal["corrected", "published"] = Field(
        "corrected", description="sets every switch", json_schema_extra=effect()
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:N",
        json_schema_extra=effect("training", "execution"),
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="autocast precision; auto is bf16 on CUDA devices that have it, else fp32",
        json_schema_extra=effect("training", "execution"),
    )
    plugins: Annotated[tuple[FilePath, ...], Field(strict=False)] = Field(
        (),
        description="Python files with plugins, loaded because this file names them; paths start from its folder",
        json_schema_extra=effect("training"),
    )
    workers: int = Field(
        0,
        ge=0,
        le=64,
        description="processes that decode images; 0 decodes in the main one",
        json_schema_extra=effect("execution"),
    )
    switches: Switches = Field(default_factory=Switches, description="table of switches; see profile")
    backbone: ComponentTable = Field(
        description="the frozen model: a table with `use` and its options",
        json_schema_extra=effect("training", "scoring"),
    )
    model: ModelTable = Field(default_factory=ModelTable, description="table of levels and projections")
    stages: NamedTables = Field(
        default_factory=dict,
        description="tables [stages.NAME] with `use` and its options; NAME is the file's own",
        json_schema_extra=effect("training", "scoring"),
    )
    losses: LossTables = Field(description="tables [losses.text.NAME] and [losses.vision.NAME]")
    scheduler: ComponentTable = Field(
        description="the plan of the loops: a table with `use` and its options", json_schema_extra=effect("training")
    )
    data: DataTable = Field(
        description="tables [data.train], [data.test] and, if wanted, [data.validation] and [data.calibration]"
    )
    training: TrainingTable = Field(default_factory=TrainingTable, description="table of how training is watched")
    augmentation: AugmentationTable = Field(
        default_factory=AugmentationTable, description="table of training augmentation"
    )
    cache: CacheTable = Field(default_factory=CacheTable, description="table of where frozen features are kept")
    compute: ComputeTable = Field(default_factory=ComputeTable, description="table of how the work is done")
    evaluation: EvaluationTable = Field(default_factory=EvaluationTable, description="table of scoring choices")
    calibration: CalibrationTable = Field(
        default_factory=CalibrationTable, description="table of how thresholds are chosen"
    )
    checkpoint: CheckpointTable = Field(
        default_factory=CheckpointTable, description="table of how often a run's state is saved"
    )
    init: InitTable = Field(default_factory=InitTable, description="table that names what the weights start from")
