"""Whole files that the fuzz tests damage."""

from __future__ import annotations

import json

import torch

from aaclip_kit.checkpoints.provenance import Metadata, Provenance

from ..conftest import EXPERIMENT

METADATA = Metadata(Provenance("small", 1, (), ("text",)), "seed = 3\n").as_strings()
SMALL = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4)}
"""Metadata and tensors of a checkpoint."""

WHOLE = EXPERIMENT.format(model="./no/such/model", data="./no/such/data")
"""An experiment file."""

ROW = {"image_path": "rows.jsonl", "label": 0, "class_name": "a"}
LINES = "".join(json.dumps({**ROW, "label": label, "mask_path": "m.png"}) + "\n" for label in (0, 1, 0)).encode()
CSV = b'image_path,label,class_name,mask_path\nrows.csv,0,a,\n"b,c.png",1,"d\ne",m.png\n'
"""A row of a manifest, and whole lists in both formats."""
