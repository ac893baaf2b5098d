from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aaclip_kit_plugins import generated, synthetic
from aaclip_kit_plugins.generated import GeneratedOptions, Paint, cache_folder
from aaclip_kit_plugins.synthetic_data import SyntheticOptions, register_data_sets
from PIL import Image
from pydantic import ValidationError

from aaclip_kit import DataSet, UserError, UserErrors

from ..finding import without_home
from .registered import registered


def read(cache: Path, **options: Any) -> DataSet:
    factory, model = registered(register_data_sets)["synthetic"]
    options = {"split": "test", "classes": ["wood", "woven"], "images_per_class": 4, "image_size": 56, **options}
    return factory(model(cache=cache, **options))


def contents(data: DataSet) -> list[bytes]:
    return [sample.image.read_bytes() + (sample.mask.read_bytes() if sample.mask else b"") for sample in data.samples]


def test_same_seed_same_files_and_another_seed_others(tmp_path: Path) -> None:
    first = contents(read(tmp_path / "a"))
    assert contents(read(tmp_path / "b")) == first
    assert not set(contents(read(tmp_path / "a", seed=1))) & set(first)


def test_samples_are_the_drawings_with_their_masks(tmp_path: Path) -> None:
    data = read(tmp_path, images_per_class=5, normal_fraction=0.4)
    assert data.classes == ("wood", "woven")
    assert data.real_names == {"wood": "wood", "woven": "woven"}
    for name in data.classes:
        labels = [sample.label for sample in data.samples if sample.class_name == name]
        assert (labels.count(0), labels.count(1)) == (2, 3)
    for sample in data.samples:
        drawing = synthetic.draw(sample.class_name, int(sample.image.stem), sample.defect, 56)
        assert np.array_equal(np.asarray(Image.open(sample.image)), drawing.image)
        if sample.mask:
            assert np.array_equal(np.asarray(Image.open(sample.mask)) == 255, drawing.mask)


def test_splits_share_no_class(tmp_path: Path) -> None:
    splits = [
        read(tmp_path, split=split, classes=None, images_per_class=2) for split in ("train", "validation", "test")
    ]
    classes = [set(data.classes) for data in splits]
    assert all(classes)
    assert len(set.union(*classes)) == sum(map(len, classes))


def test_what_is_in_the_cache_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(tmp_path)
    monkeypatch.setattr(synthetic, "draw", None)
    assert read(tmp_path) == first


def test_what_is_missing_or_damaged_is_drawn_again_and_a_users_file_is_left_alone(tmp_path: Path) -> None:
    first = read(tmp_path)
    expected = contents(first)
    (entry,) = tmp_path.iterdir()
    mask = next(sample.mask for sample in first.samples if sample.mask)
    assert mask
    Image.new("L", (56, 56)).save(mask)
    first.samples[0].image.unlink()
    first.samples[-1].image.write_bytes(first.samples[-1].image.read_bytes()[:100])
    shutil.copy(first.samples[1].image, entry / "wood/test/good/mine.png")
    again = read(tmp_path)
    assert (contents(again), again.samples) == (expected, first.samples)
    assert (entry / "wood/test/good/mine.png").exists()
    assert again.notes[0].startswith("passed over: 1 not made by the toolkit (such as ")
    for damage in ("", "{}", "[1]"):
        (entry / ".digests.json").write_text(damage)
        assert contents(read(tmp_path)) == expected
    shutil.rmtree(entry / "woven")
    assert contents(read(tmp_path)) == expected
    assert [path.name for path in tmp_path.iterdir()] == [entry.name]


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    with pytest.raises(UserError, match="no home folder is known") as caught:
        cache_folder(SyntheticOptions(split="test"), "synthetic")
    assert "HOME" in str(caught.value.fix) and "AAKIT_CACHE" in str(caught.value.fix)


def test_a_drawing_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    draw = synthetic.draw

    def break_off(surface: str, *others: Any) -> Any:
        drawn.append(surface)
        if len(drawn) > 5:
            raise KeyboardInterrupt
        return draw(surface, *others)

    monkeypatch.setattr(synthetic, "draw", break_off)
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(synthetic, "draw", draw)
    assert len(read(tmp_path).samples) == 8


def test_a_second_process_may_be_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = contents(read(tmp_path / "a"))
    make_class = generated._make_class

    def overtaken(folder: Path, options: GeneratedOptions, defects: Sequence[str], paint: Paint) -> None:
        monkeypatch.setattr(generated, "_make_class", make_class)
        read(tmp_path / "b")
        make_class(folder, options, defects, paint)

    monkeypatch.setattr(generated, "_make_class", overtaken)
    assert contents(read(tmp_path / "b")) == expected
    assert len(list((tmp_path / "b").iterdir())) == 1


def test_the_cache_is_the_option_else_the_variable_else_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAKIT_CACHE", str(tmp_path / "variable"))
    assert cache_folder(SyntheticOptions(split="test", cache=tmp_path), "synthetic") == tmp_path
    assert cache_folder(SyntheticOptions(split="test"), "synthetic") == tmp_path / "variable" / "synthetic"
    monkeypatch.delenv("AAKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_folder(SyntheticOptions(split="test"), "synthetic") == tmp_path / "user" / "aaclip_kit" / "synthetic"


def test_an_unknown_class_and_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserErrors, match="did you mean 'woven'"):
        read(tmp_path, classes=["wovn"])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be kept") as caught:
        read(tmp_path / "file")
    assert "AAKIT_CACHE" in str(caught.value)


@pytest.mark.parametrize("bad", [{"split": "tests"}, {"image_size": 300}, {"normal_fraction": 1.0}, {"seed": -1}])
def test_options_out_of_range_are_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        read(tmp_path, **bad)
