"""The trackers `csv`, `tensorboard`, `mlflow` and `wandb`: their options. Their packages are extras of the toolkit."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from aaclip_kit import Options, Register, hookimpl

Folder = Annotated[Path | None, Field(strict=False)]


class CsvOptions(Options):
    """Every scalar as a line of a table, scalars.csv."""

    folder: Folder = Field(None, description="where a folder for the run is made; by default RUN/tracking/csv")


class TensorboardOptions(Options):
    """TensorBoard: `tensorboard --logdir runs` finds it (extra `tensorboard`)."""

    folder: Folder = Field(None, description="where a folder for the run is made; by default RUN/tracking/tensorboard")


class MlflowOptions(Options):
    """MLflow, on a server or in local files (extra `mlflow`)."""

    uri: str | None = Field(
        None, min_length=1, description="server or database; by default $MLFLOW_TRACKING_URI, else mlflow.db here"
    )
    experiment: str = Field("aaclip_kit", min_length=1, description="MLflow's experiment, made where there is none")


class WandbOptions(Options):
    """Weights & Biases (extra `wandb`)."""

    project: str = Field("aaclip_kit", min_length=1, description="the project")
    entity: str | None = Field(None, min_length=1, description="user or team; by default your own")
    mode: Literal["online", "offline"] = Field(
        "online", description="sent as the run goes (`wandb login` first), or kept for `wandb sync`"
    )
    folder: Folder = Field(None, description="where W&B keeps its files; by default RUN/tracking/wandb")


@hookimpl
def register_trackers(register: Register) -> None:
    """Offer the four trackers."""
    for name, options in (
        ("csv", CsvOptions), ("tensorboard", TensorboardOptions), ("mlflow", MlflowOptions), ("wandb", WandbOptions),
    ):  # fmt: skip
        register(name, f"{__name__}.to_{name}:To{name.capitalize()}", options)
