from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from aaclip_kit_plugins.generated import GeneratedOptions, read_generated
from aaclip_kit_plugins.pasted_data import Kind, register_data_sets
from aaclip_kit_plugins.synthetic import DEFECTS, photographs
from aaclip_kit_plugins.synthetic.paste import PASTED, PhotographCanvas, paste, squeezed
from PIL import Image
from pydantic import ValidationError

from aaclip_kit import DataSet, UserError, UserErrors

from ..helpers import assert_close
from .made_photographs import contents, noise, own
from .registered import registered

KINDS = get_args(Kind)


def read(cache: Path, photographs: Path, **options: Any) -> DataSet:
    factory, model = registered(register_data_sets)["pasted"]
    options = {"split": "train", "images_per_class": 6, "image_size": 56, **options}
    return factory(model(cache=cache, photographs=photographs, **options))


def drawn(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed]))


def test_its_kinds_are_the_cut_the_blended_and_the_drawn_ones() -> None:
    assert (*PASTED, *(kind for kind in DEFECTS if kind not in PASTED)) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_photograph_changes_inside_the_mask_and_hardly_elsewhere(kind: str) -> None:
    given, others = noise(1, 112), [np.full((200, 200, 3), 230, np.uint8)]
    for seed in range(8):
        picture, mask = paste(given, others, drawn(seed), kind)
        change = np.abs(picture.astype(float) - given).mean(-1)
        assert picture.dtype == np.uint8 and picture.shape == (112, 112, 3)
        assert 0 < mask.mean() < 0.4 and change[mask].mean() > 4
        # What a mask leaves out are soft edges, and a blend that hardly shows.
        assert change[~mask].mean() < 1 and np.median(change[~mask]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_even_a_plain_surface_gets_a_defect_that_shows(kind: str) -> None:
    plain = np.full((112, 112, 3), 128, np.uint8)
    for seed in range(4):
        picture, mask = paste(plain, [noise(2, 224)], drawn(seed), kind)
        assert mask.any() and np.abs(picture.astype(float) - plain)[mask].mean() > 2


def test_a_grey_photograph_stays_grey_with_a_drawn_defect() -> None:
    grey = np.repeat(noise(3, 112).mean(-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    for seed in range(6):
        picture, _ = paste(grey, [], drawn(seed), "scratch")
        assert np.ptp(picture, axis=-1).max() <= 1


def test_a_photograph_as_a_canvas_shows_its_own_colours_where_they_are() -> None:
    picture = noise(4, 112).astype(np.float32)
    line = np.arange(112, dtype=np.float32) + 0.5
    x, y = np.meshgrid(line, line)
    assert_close(PhotographCanvas(picture).render(x, y), picture, atol=1e-3)
    half = PhotographCanvas(picture[::2, ::2])
    seen = half.render(*np.meshgrid(line[:56] * 2, line[:56] * 2))
    assert_close(seen, picture[::2, ::2], atol=1e-3)


def test_normal_pictures_are_the_photographs_as_the_model_sees_them(tmp_path: Path) -> None:
    good = own(tmp_path / "good", 10)
    data = read(tmp_path / "cache", good)
    seen = {squeezed(Image.open(file), 56).tobytes() for file in good.iterdir()}
    normal = [np.asarray(Image.open(sample.image)).tobytes() for sample in data.samples if not sample.label]
    assert len(normal) == 3 and set(normal) <= seen
    assert all(np.asarray(Image.open(one.mask)).any() for one in data.samples if one.mask)


def test_the_same_options_give_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    good = own(tmp_path / "good", 10)
    first = contents(read(tmp_path / "a", good))
    assert contents(read(tmp_path / "b", good)) == first
    anomalous = {one for one in first if one not in contents(read(tmp_path / "a", good, seed=1))}
    assert len(anomalous) >= 3


def test_pictures_are_made_anew_where_the_code_that_paints_them_changed(tmp_path: Path) -> None:
    file, seen = tmp_path / "painter.py", []
    options = GeneratedOptions(split="train", images_per_class=2, image_size=56, cache=tmp_path / "cache")
    for grey in (10, 200):
        lines = ["import numpy as np", "def paint(name, index, defect):"]
        lines += [f"    return np.full((56, 56, 3), {grey}, np.uint8), np.ones((56, 56), bool)"]
        file.write_text("\n".join(lines))
        made: dict[str, Any] = {}
        exec(compile(file.read_text(), file, "exec"), made)
        data = read_generated(options, "painted", {"a": ("spot",)}, made["paint"])
        seen.append([np.asarray(Image.open(one.image)).max() for one in data.samples])
    assert seen == [[10, 10], [200, 200]]


def test_kinds_may_be_chosen_and_a_strange_one_is_refused(tmp_path: Path) -> None:
    good = own(tmp_path / "good", 5)
    assert contents(read(tmp_path / "a", good, kinds=["cut"])) != contents(read(tmp_path / "a", good, kinds=["crack"]))
    with pytest.raises(ValidationError, match="rust"):
        read(tmp_path, good, kinds=["rust"])
    with pytest.raises(ValidationError, match="kinds"):
        read(tmp_path, good, kinds=[])


def test_splits_share_no_photograph_and_each_comes_mirrored_before_it_comes_again(tmp_path: Path) -> None:
    good, used = own(tmp_path / "good", 10), {}
    for split in ("train", "validation", "test"):
        data = read(tmp_path / "cache", good, split=split, images_per_class=40, normal_fraction=0.9)
        used[split] = {one.image.read_bytes() for one in data.samples if not one.label}
    assert [len(of) for of in used.values()] == [24, 8, 8] and len(set().union(*used.values())) == 40


def test_names_folders_and_classes_that_cannot_be(tmp_path: Path) -> None:
    good = own(tmp_path / "metal_nut", 5)
    assert read(tmp_path / "cache", good, real_names={"metal_nut": "steel nut"}).real_names == {
        "metal_nut": "steel nut"
    }
    with pytest.raises(UserErrors, match="did you mean 'metal_nut'"):
        read(tmp_path, good, classes=["metal_nuts"])
    with pytest.raises(UserErrors, match="did you mean 'metal_nut'"):
        read(tmp_path, good, real_names={"metal_nuts": "steel nut"})
    with pytest.raises(UserError, match="there is no such folder"):
        read(tmp_path, tmp_path / "nowhere")


def test_what_is_in_the_cache_is_read_without_decoding_a_shipped_photograph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = own(tmp_path / "good", 5)
    first = read(tmp_path / "cache", good)

    def decoded(name: str) -> None:
        raise AssertionError(f"{name} was decoded")

    monkeypatch.setattr(photographs, "photographs_of", decoded)
    assert read(tmp_path / "cache", good) == first
    with pytest.raises(AssertionError, match="was decoded"):
        read(tmp_path / "cache", good, seed=1)
