"""WinCLIP as its usual implementation computes it: text, windows, maps and scores, with references and without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from aaclip_kit_plugins.win_clip.head import WinClip, window_map
from PIL import Image
from torch import Tensor
from torch.nn import functional

from aaclip_kit import ImageTokens, NormalScores, Sample, Scores, unit
from aaclip_kit.data.loader import Pixels
from aaclip_kit.data.loader import test_batches as batches_of
from aaclip_kit.model.anomaly_model import AnomalyModel
from aaclip_kit.model.windows import window_patches

from .peer import Peer

METHOD = "winclip"
FILE = "vitb_win_clip.toml"
ENSEMBLES = {"published": "win_clip_published", "corrected": "win_clip"}
MEMORY = ("reference.use=win_clip", "data.reference.use=mvtec", "data.reference.root=none")
NORMAL = NormalScores(grid_mean=0.0, grid_deviation=1.0, image_mean=0.0, image_deviation=1.0)
"""What the head says of normal images plays no part."""
SCORES = 1e-5
"""Scores near one half differ by little."""

pytestmark = pytest.mark.slow


@dataclass
class Rebuilt:
    """The toolkit's models, and what they read of the goldens' images and references."""

    peer: Peer
    images: ImageTokens
    references: ImageTokens
    _prompts: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def model(self, profile: str, *overrides: str) -> AnomalyModel:
        return model_of(self.peer, f"prompts.ensemble={ENSEMBLES[profile]}", *overrides)

    def text(self, profile: str, model: AnomalyModel, name: str) -> tuple[Tensor, Tensor]:
        """Features of each prompt of a class, `[1, P, E]`, and the text feature that they make, `[1, E, 2]`."""
        assert model.text is not None
        combine = model.text.prompts.combine
        if (profile, name) not in self._prompts:
            kept: list[Tensor] = []

            def keep(features: Tensor) -> Tensor:
                kept.append(features)
                return combine(features)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(model.text.prompts, "combine", keep)
                model.text.class_features((name,))
            (self._prompts[profile, name],) = kept
        return self._prompts[profile, name], combine(self._prompts[profile, name])

    def zero_shot(self, profile: str, model: AnomalyModel, name: str) -> dict[str, Tensor]:
        """What the head makes of the images as of a class."""
        head = model.head
        assert isinstance(head, WinClip)
        features = head.features(replace(self.images, levels={}))
        text = self.text(profile, model, name)[1].expand(self.peer.info["batch"], -1, -1)
        scores = head.score(features, text, model.backbone.image_size, "industrial", True)
        windows: dict[str, Tensor] = {}
        for side, one in head.window_scores(features, text).items():
            windows |= {f"window_scores/scale{side}": one, f"map/scale{side}": window_map(one, head.grid, side)}
        return {"image_score": scores.detection, "multi_scale_map": scores.grid, "pixel_map": scores.maps, **windows}

    def hold(self, computed: Mapping[str, Any], tolerance: float = 1e-4) -> None:
        """Hold what the goldens have of it: not every variant was computed in every profile."""
        found = {key: value for key, value in computed.items() if key in self.peer.goldens.arrays}
        assert found, f"the goldens have none of {', '.join(computed)}"
        self.peer.hold(found, tolerance)


def model_of(peer: Peer, *overrides: str) -> AnomalyModel:
    info = peer.info
    fixed = [f"backbone.model={info['model']}", f"head.scales={info['scales']}", *MEMORY]
    fixed.append(f"reference.scales={info['scales']}")
    return peer.model(FILE, "", *fixed, f"head.temperature={info['temperature']}", *overrides)


@pytest.fixture(scope="module")
def rebuilt(peer: Peer) -> Rebuilt:
    model, info = model_of(peer), peer.info
    reads, levels = replace(model.head.reads, projected=False), (model.backbone.vision.depth,)
    prefix = info["reference_tag"].removeprefix(info["tag"])
    references = peer.images(prefix, batch=info["references"])
    images, normal = (model.image.untouched(images, reads, levels) for images in (peer.images(), references))
    return Rebuilt(peer, images, normal)


def test_windows_and_embeddings(rebuilt: Rebuilt) -> None:
    images, references = rebuilt.images, rebuilt.references
    assert images.windows is not None and references.windows is not None
    (patches,), (own,) = images.levels.values(), references.levels.values()
    computed = {"image_embedding": images.class_embedding, "patch_embeddings": patches}
    computed |= {f"window_embeddings/scale{side}": one for side, one in images.windows.items()}
    computed |= {f"few_shot/reference/window_embeddings/scale{side}": one for side, one in references.windows.items()}
    grid = round(patches.shape[1] ** 0.5)
    computed |= {f"masks/scale{side}": window_patches(grid, side).T for side in images.windows}
    computed["few_shot/reference/patch_embeddings"] = own
    rebuilt.peer.hold({f"published/{name}": value for name, value in computed.items()})


@pytest.mark.parametrize("profile", ENSEMBLES)
def test_text(rebuilt: Rebuilt, profile: str) -> None:
    model = rebuilt.model(profile)
    assert model.text is not None
    for name in rebuilt.peer.info["classes"]:
        prompts, text = rebuilt.text(profile, model, name)
        # The published mean of unit prompts is not divided by its own norm; for cosines that is all the same.
        mean = model.text.prompts.averaged(unit(prompts))[0]  # type: ignore[operator]
        tokens = model.text.book.tokens[model.text.book.rows[name]]
        computed = {"text": text[0].T, "unit_prompts/text": mean, "prompt_tokens": tokens}
        rebuilt.hold({f"{profile}/{what}/{name}": value for what, value in computed.items()})


@pytest.mark.parametrize("profile", ENSEMBLES)
def test_zero_shot(rebuilt: Rebuilt, profile: str) -> None:
    parts = (key.partition("zero_shot/") for key in rebuilt.peer.keys)
    variants = {start: overrides_of(start) for start, is_one, _ in parts if is_one and start.startswith(profile)}
    for start, overrides in variants.items():
        model = rebuilt.model(profile, *overrides)
        for name in rebuilt.peer.info["classes"]:
            computed = rebuilt.zero_shot(profile, model, name)
            rebuilt.hold({f"{start}zero_shot/{what}/{name}": one for what, one in computed.items()}, SCORES)


def overrides_of(start: str) -> tuple[str, ...]:
    """What the beginning of a key says, as in "published/temperature_0.01/"."""
    variant = start.rstrip("/").partition("/")[2]
    if variant.startswith("temperature_"):
        return (f"head.temperature={variant.removeprefix('temperature_')}",)
    return {"": (), "unit_prompts": ("prompts.average=unit",)}[variant]


def test_few_shot(rebuilt: Rebuilt) -> None:
    images, model = rebuilt.images, rebuilt.model("published")
    memory = model.reference
    assert memory is not None and images.windows is not None
    bank = memory.fill([rebuilt.references])
    answer = memory.answer(bank, images)
    assert answer.parts is not None
    found = {"association/patch": answer.parts["patches"], "multi_scale_map": answer.grid}
    for side in images.windows:
        found[f"association/scale{side}"] = answer.parts[f"window{side}"]
        found[f"map/scale{side}"] = answer.parts[f"map of window{side}"]
    rebuilt.peer.hold({f"published/few_shot/{what}": value for what, value in found.items()}, SCORES)
    for profile in ENSEMBLES:
        model = rebuilt.model(profile)
        for name in rebuilt.peer.info["classes"]:
            alone = rebuilt.zero_shot(profile, model, name)
            scores = Scores(alone["multi_scale_map"], alone["pixel_map"], alone["image_score"])
            fused = memory.combine(scores, answer, bank=bank, normal=NORMAL, smooth=True)
            both = {"fused_map": fused.grid, "pixel_map": fused.maps, "image_score": fused.detection}
            rebuilt.hold({f"{profile}/few_shot/{what}/{name}": value for what, value in both.items()}, SCORES)


def test_preprocessing_differs_by_rounding_alone(peer: Peer, rebuilt: Rebuilt, tmp_path: Path) -> None:
    """Published code resizes the float tensor; here a picture of whole numbers is resized, as for every backbone."""
    picture, backbone = picture_of(peer), rebuilt.model("published").backbone
    mean, std = (torch.tensor(values)[:, None, None] for values in (backbone.image_mean, backbone.image_std))
    pixels, size = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255, peer.info["image_size"]
    naive = functional.interpolate(pixels.float(), (size, size), mode="bicubic", antialias=True)[0]
    peer.hold({"published/preprocessed_picture": (naive - mean) / std})
    Image.fromarray(picture).save(tmp_path / "picture.png")
    sample = Sample(tmp_path / "picture.png", peer.info["classes"][0], 0)
    (batch,) = batches_of((sample,), Pixels(size, backbone.image_mean, backbone.image_std), 1)
    levels = 255 * (batch.images[0] * std + mean - naive.clamp(0, 1)).abs()
    assert levels.max() < 1.5 and levels.mean() < 0.5


def picture_of(peer: Peer) -> np.ndarray:
    """The first picture of the pages of the family, `[H, W, 3]`, bytes."""
    height, width = peer.info["picture_size"]
    made = peer.goldens.recipe.images(peer.info["tag"] + "picture0/", 1, max(height, width))[0, :, :height, :width]
    return np.clip(np.rint(127.5 + 50 * made.astype(np.float64)), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def test_every_key_was_compared(compared: Peer) -> None:
    assert not compared.passed_over
