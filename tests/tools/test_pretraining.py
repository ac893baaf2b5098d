"""The pretraining of the embedded model: captions, pictures, losses, the stem, workers, and a run that goes on."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from aaclip_kit_plugins.embedded import EmbeddedOptions, backbone
from aaclip_kit_plugins.embedded.backbone import EmbeddedBackbone, untrained
from aaclip_kit_plugins.embedded.stem import BLOCKS, CHANNELS, Stem
from aaclip_kit_plugins.synthetic import PRETRAIN_SURFACES, TEST_SURFACES, VALIDATION_SURFACES
from aaclip_kit_plugins.synthetic import photographs as shipped
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException
from torch.nn import functional

from tools.pretraining import collect, pretrain, probe
from tools.pretraining.averaging import Average
from tools.pretraining.captions import KIND_WORDS, KINDS, Caption, Words, Writer, agreement
from tools.pretraining.losses import SHARPNESS, SHOWS, TEMPERATURE, Readout, contrastive
from tools.pretraining.pictures import LEAST, Pool, blended, drawn, generator, keep, read_photographs
from tools.pretraining.recipe import Recipe, rate_at
from tools.pretraining.stem import EPSILON, stem_weights
from tools.pretraining.storage import export
from tools.pretraining.towers import stem_features, text_features, tokens_by_level
from tools.pretraining.workers import Gradients, run_workers

from ..helpers import assert_close, gradient_of

SMALL = dataclasses.replace(Recipe(), steps=4, settling=2, workers=1, batch=4, pool=8, fresh=2, warm_up=2)
PICTURES: tuple[Words, ...] = (("denim", "blue", None), ("denim", "blue", "scratch"), ("rock", "", "foreign"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two photographs and of one that is too small."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    with (folder / "SOURCES.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["file", "material"])
        for name, side in (("rock", 130), ("sand", LEAST), ("small", LEAST - 1)):
            Image.fromarray(random.integers(0, 256, (side, side + 9, 3), dtype=np.uint8)).save(folder / f"{name}.png")
            writer.writerow([f"{name}.png", name])
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EfficientNet-Lite0 as it is published, as far as the stem goes, with random weights."""
    torch.manual_seed(0)
    state = _convolution("_conv_stem", "_bn0", 32, 3, 3)
    channels = 32
    for index, (kernel, _, expansion, out) in enumerate(BLOCKS):
        block, inner = f"_blocks.{index}", channels * expansion
        if expansion > 1:
            state |= _convolution(f"{block}._expand_conv", f"{block}._bn0", inner, channels, 1)
        state |= _convolution(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, kernel)
        state |= _convolution(f"{block}._project_conv", f"{block}._bn2", out, inner, 1)
        channels = out
    file = tmp_path_factory.mktemp("published") / "lite0.pth"
    torch.save({**state, "_fc.bias": torch.zeros(3)}, file)
    return file


def _convolution(name: str, norm: str, out: int, channels: int, kernel: int) -> dict[str, Tensor]:
    return {
        f"{name}.weight": torch.randn(out, channels, kernel, kernel) / (channels * kernel**2) ** 0.5,
        f"{norm}.weight": 0.5 + torch.rand(out),
        f"{norm}.bias": 0.1 * torch.randn(out),
        f"{norm}.running_mean": 0.1 * torch.randn(out),
        f"{norm}.running_var": 0.01 + torch.rand(out),
        f"{norm}.num_batches_tracked": torch.tensor(1),
    }


@pytest.fixture(scope="module")
def stem(published: Path) -> Stem:
    made = Stem().requires_grad_(False)
    made.load_state_dict(stem_weights(published), strict=True)
    return made


PLACES = [("first", "_conv_stem", "_bn0")]
PLACES += [(f"blocks.{n}.expand", f"_blocks.{n}._expand_conv", f"_blocks.{n}._bn0") for n in (1, 10)]
PLACES += [(f"blocks.{n}.depthwise", f"_blocks.{n}._depthwise_conv", f"_blocks.{n}._bn1") for n in (0, 5, 10)]
PLACES += [(f"blocks.{n}.project", f"_blocks.{n}._project_conv", f"_blocks.{n}._bn2") for n in (0, 5, 10)]


@pytest.mark.parametrize(("here", "there", "norm"), PLACES)
@torch.no_grad()
def test_a_folded_norm_is_the_convolution_and_then_the_norm(
    published: Path, stem: Stem, here: str, there: str, norm: str
) -> None:
    state = torch.load(published, weights_only=True)
    weight, layer = state[f"{there}.weight"], stem.get_submodule(here)
    groups = len(weight) if here.endswith("depthwise") else 1
    x = torch.randn(2, weight.shape[1] * groups, 9, 9)
    batch_norm = nn.BatchNorm2d(len(weight), eps=EPSILON).eval()
    own = {key.removeprefix(f"{norm}."): value for key, value in state.items() if key.startswith(f"{norm}.")}
    batch_norm.load_state_dict(own)
    expected = batch_norm(functional.conv2d(x, weight, groups=groups))
    bias = layer.get_parameter("bias")
    folded = layer.get_parameter("weight").view_as(weight)
    assert_close(functional.conv2d(x, folded, bias, groups=groups), expected, atol=1e-5)  # sums of up to 672 terms


def test_stem_features_are_those_of_the_scaled_picture(stem: Stem) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    scaled = (torch.tensor(pictures, dtype=torch.float64) - 127) / 128
    expected = stem(scaled.permute(0, 3, 1, 2).float())
    assert_close(stem_features(stem, pictures).float(), expected, rtol=1e-3, atol=1e-4)  # kept in half precision


@torch.no_grad()
def test_the_towers_agree_with_open_clip() -> None:
    torch.manual_seed(0)
    model = untrained(56).eval()
    images = torch.rand(2, 3, 56, 56) * 2 - 1
    tokens = tokens_by_level(model.visual, model.visual.conv1.stem(images), (2, 4))
    assert set(tokens) == {2, 4}
    assert_close(tokens[4][:, 0] @ model.visual.proj, model.encode_image(images), atol=1e-5)
    texts = open_clip.get_tokenizer("ViT-B-32")(["a photo of a damaged wood.", "wood."])
    assert_close(text_features(model, texts), model.encode_text(texts, normalize=True), atol=1e-5)


@pytest.mark.parametrize("words", PICTURES)
def test_captions_are_true_of_their_own_picture_and_silent_about_its_state(words: Words) -> None:
    writer, rng, seen = Writer(), generator(1), set()
    for _ in range(200):
        made = writer.caption(rng, words)
        assert made.fits(*words[:2])
        seen.add((made.surface, made.colour))
        assert made.surface is None or made.surface in made.text
        assert made.colour is None or made.colour in made.text
        assert not any(word in made.text.split() for word in ("damaged", "broken", "flawless", "intact"))
    assert {surface for surface, _ in seen} == {words[0], None}
    assert {colour for _, colour in seen} == {words[1] or None, None}


@pytest.mark.parametrize("words", PICTURES)
def test_a_pair_says_both_states_of_one_name(words: Words) -> None:
    writer, rng, kinds = Writer(strange=0.0), generator(2), 0
    for _ in range(80):
        normal, damaged = writer.pair(rng, words)
        named = any(word in damaged for word in KIND_WORDS[words[2]]) if words[2] else False
        assert named or any(word in damaged for word in ("damage", "broken", "flaw", "defect"))
        assert normal != damaged and (words[0] in normal) == (words[0] in damaged)
        kinds += named
    assert bool(kinds) == (words[2] is not None)


def test_strange_names_claim_nothing_about_the_surface() -> None:
    writer, rng = Writer(strange=1.0), generator(3)
    made = [writer.caption(rng, PICTURES[1]) for _ in range(30)]
    assert all((one.surface, one.colour) == (None, None) and one.fits("rock", "") for one in made)
    assert not any("denim" in one.text for one in made)


def test_agreement_allows_several_captions_for_a_picture() -> None:
    pictures: list[Words] = [("denim", "blue", "hole"), ("denim", "grey", "hole"), ("rock", "blue", None)]
    captions = [
        Caption("a denim.", "denim", None),
        Caption("a grey denim.", "denim", "grey"),
        Caption("a blue surface.", None, "blue"),
    ]
    assert agreement(captions, pictures).tolist() == [[True, False, True], [True, True, False], [False, False, True]]
    assert set(KIND_WORDS) == set(KINDS)


def test_pictures_show_what_their_words_say(photographs: Path) -> None:
    given, kinds = read_photographs(photographs), set()
    assert [material for material, _ in given] == ["rock", "sand"], "the third is too small"
    for number in range(24):
        for made in (drawn(generator(number), PRETRAIN_SURFACES, 0.5), blended(generator(number), given, 0.5)):
            assert made.image.shape == (112, 112, 3) and made.mask.any() == (made.defect is not None)
            kinds.add(made.defect)
            assert not any(made.surface == name.replace("_", " ") for name in TEST_SURFACES + VALIDATION_SURFACES)
    assert None in kinds and kinds - {None} <= set(KIND_WORDS) and "moved" not in kinds


def test_a_defect_covers_patches_as_its_mask_does(stem: Stem) -> None:
    picture = drawn(generator(0), PRETRAIN_SURFACES, 1.0)
    (kept,) = keep(stem, [picture])
    assert kept.features.shape == (CHANNELS, 14, 14) and kept.features.dtype == torch.float16
    expected = picture.mask.reshape(14, 8, 14, 8).mean(axis=(1, 3)).ravel()
    assert_close(kept.covered, expected.astype(np.float32))
    assert kept.words == (picture.surface, picture.colour, picture.defect)


def test_the_contrastive_loss_is_clips_when_one_caption_fits() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    target = torch.arange(5)
    both = [functional.cross_entropy(side, target) for side in (logits, logits.T)]
    assert_close(contrastive(logits, torch.eye(5)), sum(both) / 2)


@pytest.mark.parametrize("settled", [False, True])
def test_the_readouts_losses_are_the_naive_formula(settled: bool) -> None:
    torch.manual_seed(0)
    readout, features, proj = Readout(6, 5, (1, 2)), torch.randn(3, 4, 5), torch.randn(6, 3)
    tokens, direction = {1: torch.randn(3, 5, 6), 2: torch.randn(3, 5, 6)}, 0.1 * torch.randn(3, 3)
    covered = torch.tensor([[0.0, 0.1, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.2]])
    scale, (patch, peak) = float(readout.scale.detach().exp()), readout.offset.detach().tolist()
    readout.settled = settled
    scale, patch = (TEMPERATURE, 0.0) if settled else (scale, patch)

    def toward(level: int, image: int, place: int) -> Tensor:
        unit = functional.normalize(tokens[level][image, place] @ proj, dim=0)
        return scale * unit @ direction[image]

    def entropy(logit: Tensor, target: float) -> Tensor:
        chance = torch.sigmoid(logit.double())
        return -(target * chance.log() + (1 - target) * (1 - chance).log()).float()

    patches, peaks, firsts, given = [], [], [], []
    for image in range(3):
        damaged = float(covered[image].max() > 0)
        means = [(toward(1, image, place) + toward(2, image, place)) / 2 for place in range(1, 5)]
        peaks.append(entropy((SHARPNESS * torch.stack(means)).exp().sum().log() / SHARPNESS + peak, damaged))
        firsts.append(toward(2, image, 0) ** 2)
        for place in range(1, 5):
            target = min(1.0, float(covered[image, place - 1]) / SHOWS)
            patches += [entropy(toward(level, image, place) + patch, target) for level in tokens]
            for level, x in tokens.items():
                back, wanted = readout.stem[str(level)](x[image, place]), features[image, place - 1]
                difference = (back - wanted).abs()
                smooth = torch.where(difference < 1, difference**2 / 2, difference - 0.5).mean()
                given.append(smooth + (1 - back @ wanted / (back.norm() * wanted.norm())) / 2)
    expected = {"patches": patches, "peak": peaks, "token": firsts, "stem": given}
    found = readout.losses(features, tokens, proj, direction, covered)
    assert set(found) == set(expected)
    for name, parts in expected.items():
        assert_close(found[name], torch.stack(parts).mean())


def test_the_average_starts_short_and_grows_long() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.zero_()
    average, expected = Average(model, 0.5), 0.0
    for update in range(1, 13):
        model.weight.data.fill_(update)
        average.update(model)
        decay = min(0.5, update / (update + 9))
        expected = decay * expected + (1 - decay) * update
        assert_close(average.weights["weight"], [[expected]])


def test_gradients_are_clipped_as_one_and_a_wish_to_stop_is_passed_on() -> None:
    weights = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    gradients = Gradients(weights)
    torch.stack([3.0 * weights[0][0], 4.0 * weights[1][0]]).sum().backward()
    assert gradients.exchange(stop=True) and not gradients.exchange()
    gradients.clip(1.0)
    assert_close(torch.cat([gradient_of(weight) for weight in weights]), torch.tensor([0.6, 0.0, 0.8]))


def _sum_of_ranks(rank: int, folder: Path) -> None:
    weight = torch.zeros(1, requires_grad=True)
    gradients = Gradients([weight])
    (weight * (rank + 1.0)).sum().backward()
    stopping = gradients.exchange(stop=rank == 1)
    (folder / f"{rank}.txt").write_text(f"{float(gradient_of(weight))} {stopping}")


@pytest.mark.slow
def test_workers_average_their_gradients(tmp_path: Path) -> None:
    run_workers(2, tmp_path, _sum_of_ranks, tmp_path)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["1.5 True", "1.5 True"]


def _fails_on_the_second(rank: int, folder: Path) -> None:
    if rank == 1:
        raise ValueError("not this one")
    (folder / "never.txt").write_text(str(Gradients([torch.zeros(1, requires_grad=True)]).exchange()))


@pytest.mark.slow
def test_a_worker_that_fails_ends_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProcessExitedException):
        run_workers(2, tmp_path, _fails_on_the_second, tmp_path)
    assert "ValueError: not this one" in capfd.readouterr().err
    assert not (tmp_path / "never.txt").exists()


def test_the_pool_is_the_same_after_an_interruption(stem: Stem, photographs: Path) -> None:
    given = read_photographs(photographs)
    whole = Pool(SMALL, stem, given)
    whole.batch(), whole.batch()
    for expected, again in zip(whole.batch(), Pool(SMALL, stem, given, step=2).batch(), strict=True):
        assert torch.equal(expected.features, again.features) and torch.equal(expected.covered, again.covered)
        assert expected.words == again.words
    other = Pool(SMALL, stem, given, step=2, worker=1).batch()
    assert [kept.words for kept in other] != [kept.words for kept in Pool(SMALL, stem, given, step=2).batch()]


@pytest.mark.slow
def test_an_interruption_changes_no_weight(
    tmp_path: Path, published: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "measure", lambda *_: {})
    monkeypatch.setattr(pretrain, "EVERY", 2)

    def run(name: str, minutes: float | None = None, resume: bool = False) -> dict[str, Tensor]:
        folder, file = tmp_path / name, tmp_path / f"{name}.safetensors"
        folder.mkdir(exist_ok=True)
        pretrain.train(0, SMALL, photographs, published, folder, file, minutes, resume)
        return load_file(file)

    whole = run("whole")
    early = run("broken", minutes=1e-9)
    assert torch.load(tmp_path / "broken" / "checkpoint.pt", weights_only=True)["step"] == 1
    resumed = run("broken", resume=True)
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())
    learnt = {name for name, weight in whole.items() if not torch.equal(weight, early[name])}
    assert {"visual.conv1.linear.weight", "visual.proj", "text_projection", "token_embedding.weight"} <= learnt
    assert not any(name.startswith("visual.conv1.stem") for name in learnt), "the stem is frozen"


def test_what_is_exported_is_what_the_backbone_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.safetensors"
    model = untrained()
    export(model, file)
    assert {weight.dtype for weight in load_file(file).values()} == {torch.float16}
    assert file.stat().st_mode & 0o777 == 0o644 and not list(tmp_path.glob("*.partial"))
    monkeypatch.setattr(backbone, "WEIGHTS", file)
    loaded = EmbeddedBackbone(EmbeddedOptions()).clip.state_dict()
    assert torch.equal(loaded["visual.proj"], model.visual.proj.half().float())


def test_the_probe_gives_the_figures_of_each_kind_of_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        f"drawn {surface}": tuple(drawn(generator(n), [surface], n % 2) for n in range(4))
        for surface in VALIDATION_SURFACES[:2]
    }
    monkeypatch.setattr(probe, "_classes", lambda: made)
    monkeypatch.setattr(probe, "_features", {})
    torch.manual_seed(0)
    found = probe.measure(untrained().eval(), (1, 4))
    assert set(found) == {"drawn_pixel", "drawn_peak"}
    assert all(0 <= value <= 1 for value in found.values())


def test_the_rate_warms_up_stays_and_falls() -> None:
    recipe = Recipe()
    assert rate_at(recipe, 0) == pytest.approx(recipe.rate / recipe.warm_up)
    first = round(recipe.steps * (1 - recipe.cool_down))
    assert {rate_at(recipe, step) for step in range(recipe.warm_up, first)} == {recipe.rate}
    assert rate_at(recipe, recipe.steps - 1) < 0.03 * recipe.rate
    settling = [rate_at(recipe, recipe.steps + step) for step in range(recipe.settling)]
    assert settling[0] == recipe.settling_rate and settling == sorted(settling, reverse=True) and settling[-1] > 0


def test_what_comes_before_the_cool_down_does_not_depend_on_the_number_of_steps() -> None:
    short, long = Recipe(), dataclasses.replace(Recipe(), steps=2 * Recipe.steps)
    first = round(short.steps * (1 - short.cool_down))
    assert [rate_at(short, step) for step in range(first)] == [rate_at(long, step) for step in range(first)]


def test_the_photographs_are_collected_as_the_table_says(tmp_path: Path) -> None:
    place = tmp_path / "packages" / "made" / "inside" / "data"
    place.mkdir(parents=True)
    Image.new("RGB", (2000, 1000), (9, 8, 7)).save(place / "wall.png")
    row = {"package": "pip:made", "version": "1", "path": "data/wall.png", "material": "brick wall"}
    collect.collect([row], tmp_path / "packages", tmp_path / "out")
    ((material, pixels),) = read_photographs(tmp_path / "out")
    assert (material, pixels.shape) == ("brick wall", (512, 1024, 3))
    with pytest.raises(FileNotFoundError, match=r"data/wall2\.png is not in"):
        collect.collect([{**row, "path": "data/wall2.png"}], tmp_path / "packages", tmp_path / "out")


def test_the_table_of_photographs_names_author_and_licence_and_no_validation_or_test_photograph() -> None:
    rows = collect.rows()
    assert len(rows) > 150 and all(row["author"] and row["licence"] and row["material"] for row in rows)
    kept = {row["original"] for row in photographs_table() if row["split"] != "train"}
    assert kept and not kept & {row["path"] for row in rows}


def photographs_table() -> list[dict[str, str]]:
    with (Path(shipped.__file__).parent / "sources.csv").open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))
