"""Keys: everything that frozen features depend on, and nothing else, as one SHA-256."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain

import torch

from ..contracts.backbone import Backbone

FORMAT = 3
"""Version of what is stored. Raise it with every change to how keys, files or the features themselves are made."""


def view_key(content: str, view: Sequence[int | float | str]) -> str:
    """The key of one view of an image: `content` is the digest of the file, `view` all else that makes the view."""
    return hashlib.sha256(json.dumps([content, *view]).encode()).hexdigest()


def backbone_identity(backbone: Backbone, facts: Mapping[str, object]) -> str:
    """The identity of a frozen backbone as it is used: every weight, its modules, and what the caller adds.

    `facts` (levels, precision, kind of device and the like) are anything that JSON can hold. Reads every byte of the
    weights, which takes seconds for hundreds of millions of them. The version of torch counts: another one may round
    otherwise.
    """
    # Two backbones may share their weights and differ in a module without any, such as the activation. Addresses, which
    # some modules print, are another in each process.
    modules = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(backbone))
    sizes = [
        repr(backbone.vision), backbone.embedding_width, backbone.image_size, backbone.grid, backbone.surgery_start,
        backbone.image_mean, backbone.image_std, backbone.prefix_tokens,
    ]  # fmt: skip
    about = [FORMAT, torch.__version__, modules, sizes, dict(facts)]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    named = chain(backbone.named_parameters(remove_duplicate=False), backbone.named_buffers(remove_duplicate=False))
    for name, tensor in named:
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
