"""Scores pictures with the exported model beside this file. Needs: pip install onnxruntime numpy pillow."""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
card = json.loads((HERE / "card.json").read_text(encoding="utf-8"))

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("pictures", nargs="+", type=Path)
parser.add_argument("--threshold", type=float, default=card["threshold"]["value"])
parser.add_argument("--maps", type=Path, help="folder for the anomaly maps, as NumPy files")
given = parser.parse_args()
if given.threshold is None:
    parser.error(f"the model has no threshold ({card['threshold']['origin']}): give --threshold")

session = onnxruntime.InferenceSession(str(HERE / card["file"]), providers=["CPUExecutionProvider"])
size = tuple(card["outputs"]["map"]["shape"][1:])
for path in given.pictures:
    picture = np.asarray(
        ImageOps.exif_transpose(Image.open(path)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    )
    inputs = {"picture": picture[None], "threshold": np.array(given.threshold, np.float32)}
    anomaly_map, score, decision = session.run(["map", "score", "decision"], inputs)
    print(f"{path}\t{score[0]:.6f}\t{'anomalous' if decision[0] else 'normal'}")
    if given.maps:
        given.maps.mkdir(parents=True, exist_ok=True)
        np.save(given.maps / f"{path.name}.npy", anomaly_map[0])
