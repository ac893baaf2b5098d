"""How fast an exported model is beside PyTorch, and what it costs: one picture after another, by turns, in one process.

python benchmarks/export.py MODEL GOOD IMAGES [--threads 2] [--rounds 5]

MODEL is what `aakit export` takes, GOOD a folder of photographs to compare and to calibrate on, IMAGES another; where
some lie in folders called good and others do not, each file's image AUROC stands beside its pace. Pictures come at the
model's size, as the programs beside an exported file give them. Exits 1 where ONNX Runtime and OpenVINO are both slower
than PyTorch at fp32.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
import torch
from machine import describe

from aaclip_kit import DataSet, Sample
from aaclip_kit.checkpoints.find_checkpoint import find_trained
from aaclip_kit.checkpoints.stored_thresholds import stored_thresholds
from aaclip_kit.data.decode import open_picture, resized
from aaclip_kit.evaluation.auroc import auroc
from aaclip_kit.evaluation.histogram import Histogram
from aaclip_kit.export.agreement import Runner
from aaclip_kit.export.onnx_file import onnx_runner
from aaclip_kit.export.openvino_file import openvino_runner
from aaclip_kit.export.picture_input import PictureInput
from aaclip_kit.export.scoring_graph import ModelScores, ScoringGraph
from aaclip_kit.export.write import Export, Precision, Target
from aaclip_kit.inference.load_model import UNNAMED, TrainedModel
from aaclip_kit.plugin_host.discovery import discover

FILES: Final[tuple[tuple[Target, Precision], ...]] = (
    ("onnx", "fp32"),
    ("onnx", "fp16"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "fp16"),
)
MOST: Final = 40
"""Pictures that the pace is taken of."""

Score = Callable[[np.ndarray], float]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("good", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(describe())
    model = TrainedModel(find_trained(arguments.model, discover(), None, ["device=cpu", "precision=fp32"]))
    paths = pictures_below(arguments.images)
    side = model.evaluator.pixels.size
    squares = [np.asarray(resized(open_picture(path), side)) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        scorers = {"PyTorch fp32": in_torch(model), **files(model, arguments.good, Path(folder), arguments.threads)}
        paces = by_turns(scorers, squares[:MOST], arguments.rounds)
        labels = np.array(["good" not in path.parts for path in paths])
        for name, score in scorers.items():
            ratio = statistics.median(one / own for one, own in zip(paces["PyTorch fp32"], paces[name], strict=True))
            found = quality([score(square) for square in squares], labels)
            print(f"{name:14} {1 / statistics.median(paces[name]):6.1f} images/s, {ratio:.2f} x PyTorch{found}")
    fp32 = [statistics.median(paces[name]) for name in ("onnx fp32", "openvino fp32")]
    sys.exit(0 if min(fp32) <= statistics.median(paces["PyTorch fp32"]) else 1)


def in_torch(model: TrainedModel) -> Score:
    """The model as it is, without the loader."""
    data = DataSet((), {UNNAMED: model.real_name(UNNAMED)}, model.domain())
    evaluator = model.evaluator_for(data)
    graph = ScoringGraph(PictureInput(evaluator.pixels), ModelScores(model, evaluator, data))

    @torch.no_grad()
    def score(square: np.ndarray) -> float:
        return float(graph(torch.from_numpy(square[None].copy()), torch.tensor(0.0))[1])

    return score


def pictures_below(folder: Path) -> list[Path]:
    """Pictures in a folder and those below."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def files(model: TrainedModel, good: Path, folder: Path, threads: int) -> dict[str, Score]:
    """What runs each exported file."""
    samples, kind = tuple(Sample(path, UNNAMED, 0) for path in pictures_below(good)), model.domain()
    data = DataSet(samples, {UNNAMED: model.real_name(UNNAMED)}, kind)
    made = {}
    for to, precision in FILES:
        out = folder / f"{to}-{precision}"
        agreement = Export(model, data, stored_thresholds(model.trained, kind), to=to, precision=precision).write(out)
        print(f"{to} {precision}: {agreement.in_words}", flush=True)
        run = onnx_runner(out / "model.onnx", threads) if to == "onnx" else openvino_runner(out / "model.xml", threads)
        made[f"{to} {precision}"] = scoring(run)
    return made


def scoring(run: Runner) -> Score:
    """The image score of one picture."""
    return lambda square: float(run(square[None], 0.0)[1][0])


def by_turns(scorers: dict[str, Score], squares: list[np.ndarray], rounds: int) -> dict[str, list[float]]:
    """Seconds a picture in each round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    for number in range(rounds + 1):
        for name, score in scorers.items():
            began = perf_counter()
            for square in squares:
                score(square)
            if number:
                seconds[name].append((perf_counter() - began) / len(squares))
    return seconds


def quality(scores: list[float], labels: np.ndarray) -> str:
    """The image AUROC in words; nothing without both kinds of pictures."""
    counts = Histogram()
    counts.add(np.array(scores, np.float32), labels)
    found = auroc(counts)
    return "" if found is None else f", image AUROC {found:.3f}"


if __name__ == "__main__":
    main()
