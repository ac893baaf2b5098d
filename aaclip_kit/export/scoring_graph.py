"""A trained model as one module of tensors: pictures and a threshold in; maps, scores and decisions out."""

from pathlib import Path
from typing import Final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..checkpoints.stored_thresholds import how_cut
from ..contracts.data import DataSet, Sample
from ..contracts.errors import UserError
from ..data.loader import Batch
from ..evaluation.calibration import mixes_images
from ..evaluation.evaluator import Evaluator
from ..inference.load_model import TrainedModel
from ..model.plugin_faults import PluginFault
from .any_batch import for_any_batch
from .picture_input import PictureInput

INPUTS: Final = ("picture", "threshold")
OUTPUTS: Final = ("map", "score", "decision")

SIZES: Final = ({0: Dim("images", min=1), 1: Dim("height", min=2), 2: Dim("width", min=2)}, None)
"""What of the inputs may have any size."""

_OTHER: Final = "leave that component out, choose another one, or run the model with aakit predict"


class ModelScores(nn.Module):
    """Maps and image scores of images of one class, by the evaluator's own code; what hangs on no image is constant."""

    def __init__(self, trained: TrainedModel, evaluator: Evaluator, data: DataSet) -> None:
        super().__init__()
        (self.name,) = data.real_names
        self.model, self.domain = trained.model, data.domain
        self.evaluate = evaluator
        self.known = evaluator.of_class(self.name, trained.attending, trained.is_trained)

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B S S"], Float[Tensor, " B"]]:
        """What head and memory say."""
        samples = tuple(Sample(Path("image"), self.name, 0) for _ in range(len(images)))
        labels = torch.zeros(len(images), dtype=torch.long)
        batch = Batch(images, images[:, :1], labels, samples)
        scores = self.evaluate.scores(batch, self.known, self.domain)
        return scores.maps, self.evaluate.image_scores(scores)


class ScoringGraph(nn.Module):
    """Pictures to maps at the model's size, image scores, and whether each is at or above the threshold."""

    def __init__(self, pictures: PictureInput, scores: nn.Module) -> None:
        super().__init__()
        self.pictures, self.scores = pictures, scores

    def forward(
        self, picture: UInt8[Tensor, "B H W 3"], threshold: Float[Tensor, ""]
    ) -> tuple[Float[Tensor, "B S S"], Float[Tensor, " B"], Bool[Tensor, " B"]]:
        """Score pictures."""
        maps, scores = self.scores(self.pictures(picture))
        return maps, scores, scores >= threshold


@torch.no_grad()
def exported(trained: TrainedModel, data: DataSet) -> ExportedProgram:
    """Return the program of a model on the CPU in float32, for images of the one class that `data` names.

    Pictures may have any size and there may be any number of them. Raises `UserError` for a model that mixes the images
    of a batch, and for a component that cannot be traced, by its name.
    """
    evaluator = trained.evaluator_for(data)
    if evaluator.references is not None:
        evaluator.references.check_known(tuple(data.real_names), str(trained.trained.checkpoint))
    if (tiles := trained.trained.metadata.about.reference_tiles) is not None:
        problem = f"remembers images {how_cut(tiles)}, and an exported program sees them as a whole"
        raise UserError(problem, where=str(trained.trained.checkpoint), fix="teach a model without --tiles")
    if mixes_images(evaluator):
        problem = "its published switches mix the images of a batch, and an exported program scores each by itself"
        fix = "export a model of the corrected profile, or run this one with aakit predict"
        raise UserError(problem, where="switches", fix=fix)
    pictures = PictureInput(evaluator.pixels)
    try:
        scores = for_any_batch(ModelScores(trained, evaluator, data), pictures.side)
        graph = ScoringGraph(pictures, scores)
        example = torch.zeros(2, pictures.side + 3, pictures.side + 5, 3, dtype=torch.uint8), torch.zeros(())
        return torch.export.export(graph, example, dynamic_shapes=SIZES, strict=False)
    except PluginFault as fault:
        raise UserError(f"cannot be exported: {fault.problem}", where=fault.where, fix=_OTHER) from fault
    except UserError:
        raise
    except Exception as error:  # tracing may raise anything
        raise UserError(f"cannot be exported: {_first_line(error)}", where="model", fix=_OTHER) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
