from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aaclip_kit_plugins.blended_data import register_data_sets
from aaclip_kit_plugins.own_photographs import read_own
from aaclip_kit_plugins.synthetic import blend, photographs
from PIL import Image

from aaclip_kit import DataSet, UserError, UserErrors

from .made_photographs import contents, noise, own
from .registered import registered


def read(cache: Path, **options: Any) -> DataSet:
    factory, model = registered(register_data_sets)["blended"]
    options = {"split": "test", "images_per_class": 6, "image_size": 56, **options}
    return factory(model(cache=cache, **options))


def test_the_same_options_give_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    first = contents(read(tmp_path / "a", classes=["gravel"]))
    assert contents(read(tmp_path / "b", classes=["gravel"])) == first
    assert not set(contents(read(tmp_path / "a", classes=["gravel"], seed=1))) & set(first)


def test_what_is_in_the_cache_is_read_without_decoding_a_shipped_photograph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(tmp_path, classes=["gravel"])

    def decoded(name: str) -> None:
        raise AssertionError(f"{name} was decoded")

    monkeypatch.setattr(photographs, "photographs_of", decoded)
    assert read(tmp_path, classes=["gravel"]) == first
    with pytest.raises(AssertionError, match="gravel was decoded"):
        read(tmp_path, classes=["gravel"], seed=1)


def test_other_foreign_textures_make_other_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of own photographs and a shipped one take pieces of the other shipped photographs of the split."""
    good, rows = own(tmp_path / "good", 5), photographs._rows()
    kinds: list[dict[str, Any]] = [{"classes": ["gravel"]}, {"photographs": good}]
    first = [read(tmp_path / "cache", images_per_class=8, **kind) for kind in kinds]
    monkeypatch.setattr(
        photographs, "_rows", lambda: tuple(row for row in rows if row["material"] in ("gravel", "plaster"))
    )
    for kind, before in zip(kinds, first, strict=True):
        after = read(tmp_path / "cache", images_per_class=8, **kind)
        assert {one.image for one in after.samples}.isdisjoint(one.image for one in before.samples)
        assert contents(after) != contents(before)
        assert contents(read(tmp_path / "new", images_per_class=8, **kind)) == contents(after)


def test_a_photograph_that_moves_to_another_class_makes_other_pictures(tmp_path: Path) -> None:
    for name, first in (("bolts", 0), ("nuts", 6)):
        (tmp_path / "good" / name).mkdir(parents=True)
        for index in range(first, first + 6):
            Image.fromarray(noise(index)).save(tmp_path / "good" / name / f"{index}.png")
    before = read(tmp_path / "cache", photographs=tmp_path / "good", split="train")
    (tmp_path / "good" / "bolts" / "5.png").rename(tmp_path / "good" / "nuts" / "5.png")
    after = read(tmp_path / "cache", photographs=tmp_path / "good", split="train")
    assert {one.image for one in after.samples}.isdisjoint(one.image for one in before.samples)


def test_splits_share_no_class_and_no_photograph() -> None:
    splits = [photographs.materials_of(split) for split in ("train", "validation", "test")]
    assert all(splits) and len(set().union(*splits)) == sum(map(len, splits))
    taken = [
        photograph.tobytes() for split in splits for name in split for photograph in photographs.photographs_of(name)
    ]
    assert len(taken) == len(set(taken)) >= 40


def test_what_is_shipped_is_small_and_says_where_it_is_from() -> None:
    folder = Path(photographs.__file__).parent
    rows = photographs._rows()
    assert sum(file.stat().st_size for file in folder.glob("*.jpg")) <= 2_000_000
    assert {row["file"] for row in rows} == {file.name for file in folder.glob("*.jpg")}
    assert {row["licence"] for row in rows} <= {"CC0-1.0", "CC-BY-3.0", "Expat", "Apache-2.0", "public domain"}
    assert all(row["author"] and row["original"] for row in rows)


@pytest.mark.parametrize("defect", sorted(blend.BLENDS))
def test_a_defect_changes_the_picture_inside_its_mask_most(defect: str) -> None:
    given, others = noise(1, 224), [np.full((200, 200, 3), 230, np.uint8)]
    changes = []
    for seed in range(12):
        pictures = [
            blend.blend(given, others, np.random.Generator(np.random.PCG64([seed])), kind)[0].astype(float)
            for kind in (None, defect)
        ]
        mask = blend.blend(given, others, np.random.Generator(np.random.PCG64([seed])), defect)[1]
        change = np.abs(pictures[1] - pictures[0]).mean(-1)
        assert 0 < mask.mean() < 0.4
        # The same camera noise lies on both: far from the defect the pictures agree.
        assert np.median(change[~mask]) <= 1
        changes.append(change[mask].mean() / max(change[~mask].mean(), 1e-3))
    assert np.median(changes) > 5


def test_a_normal_picture_has_an_empty_mask_and_is_a_part_of_the_photograph() -> None:
    flat = np.full((120, 150, 3), 128, np.uint8)
    image, mask = blend.blend(flat, [], np.random.default_rng(0), None, 64)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8 and not mask.any()
    with pytest.raises(KeyError):
        blend.blend(flat, [flat], np.random.default_rng(0), "rust", 64)


def test_own_photographs_serve_as_surfaces_each_split_its_own_part(tmp_path: Path) -> None:
    good = own(tmp_path / "good parts", 10)
    used: dict[str, list[bytes]] = {}
    for split in ("train", "validation", "test"):
        used[split] = [
            one.tobytes() for one in read_own(good, split, lambda _, picture: np.asarray(picture))[0]["good parts"]
        ]
    assert [len(used[split]) for split in ("train", "validation", "test")] == [6, 2, 2]
    assert len(set().union(*used.values())) == 10
    data = read(tmp_path / "cache", photographs=good, split="train", real_names={"good parts": "metal nut"})
    assert (data.classes, len(data.samples), data.real_names) == (("good parts",), 6, {"good parts": "metal nut"})
    assert sum(sample.mask is not None for sample in data.samples) == 3


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for name in ("nuts", "bolts"):
        own(tmp_path / "good" / name, 5)
    (tmp_path / "good" / "list.txt").write_text("")
    data = read(tmp_path / "cache", photographs=tmp_path / "good")
    assert data.classes == ("bolts", "nuts")
    assert data.notes == (f"passed over: 1 beside the classes (such as {tmp_path / 'good' / 'list.txt'})",)


@pytest.mark.parametrize(
    ("count", "side", "told"),
    [
        (3, 128, "class 'good' has 3 photographs"),
        (6, 64, "cut out of it, and 5 more photographs cannot serve"),
        (0, 0, "no photo"),
    ],
)
def test_too_few_and_too_small_photographs(tmp_path: Path, count: int, side: int, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        read(tmp_path / "cache", photographs=own(tmp_path / "good", count, side))
    assert str(tmp_path / "good") in str(caught.value) and caught.value.fix
    assert not (tmp_path / "cache").exists()


def test_a_photograph_with_a_defect_is_told(tmp_path: Path) -> None:
    good = own(tmp_path / "good", 12)
    assert read(tmp_path / "cache", photographs=good).notes == ()
    bad = noise(3).copy()
    bad[40:60, 50:70] = 5
    Image.fromarray(bad).save(good / "3.png")
    (note,) = read(tmp_path / "cache", photographs=good).notes
    assert note.startswith("1 of 12 photographs of good are unlike the others, such as ") and "3.png" in note


def test_an_unknown_class_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserErrors, match="did you mean 'gravel'"):
        read(tmp_path, classes=["gravle"])
    with pytest.raises(UserErrors, match="did you mean 'gravel'"):
        read(tmp_path, real_names={"gravle": "stones"})
    with pytest.raises(UserError, match="there is no such folder"):
        read(tmp_path, photographs=tmp_path / "nowhere")
