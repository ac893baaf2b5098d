"""The pretraining of the embedded CLIP: captions, crops, losses, workers, and a run that is taken up again."""

import dataclasses
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from aaclip_kit_plugins.synthetic import TEST_SURFACES
from safetensors.torch import load_file
from torch.multiprocessing.spawn import ProcessExitedException

from tools.pretraining.captions import KIND_WORDS, KINDS, Caption, agreement, caption
from tools.pretraining.crops import PATCH, SIZE, Pool, generator
from tools.pretraining.heads import SHARPNESS, by_quarter, contrastive
from tools.pretraining.pretrain import Pretraining
from tools.pretraining.recipe import Recipe, rate_at
from tools.pretraining.storage import export, load, save
from tools.pretraining.towers import build, pixels, text_features, tokens_by_level
from tools.pretraining.workers import Gradients, run_workers

from ..helpers import gradient_of

SMALL = dataclasses.replace(Recipe(), steps=8, pool=8, fresh=2, crop_batch=4, whole_batch=2, warm_up=2)


@torch.no_grad()
def test_the_towers_agree_with_open_clip() -> None:
    torch.manual_seed(0)
    model = build().eval()
    images = pixels(np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8))
    tokens = tokens_by_level(model.visual, images, torch.zeros(2, 2, dtype=torch.long), (4, 8))
    torch.testing.assert_close(tokens[8][:, 0] @ model.visual.proj, model.encode_image(images), rtol=1e-5, atol=1e-5)
    texts = open_clip.get_tokenizer("ViT-B-32")(["a photo of a damaged wood.", "wood."])
    expected = model.encode_text(texts, normalize=True)
    torch.testing.assert_close(text_features(model, texts), expected, rtol=1e-5, atol=1e-5)


def test_a_crop_takes_its_own_part_of_the_position_embedding() -> None:
    model = build().eval()
    side = SIZE // PATCH
    model.visual.positional_embedding.data = torch.arange(side * side + 1.0)[:, None].expand(-1, 128).clone()
    seen = []
    model.visual.ln_pre.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    model.visual.conv1.weight.data.zero_()
    tokens_by_level(model.visual, torch.zeros(1, 3, 16, 16), torch.tensor([[2, 3]]), (8,))
    start = 1 + 2 * side + 3
    assert seen[0][0, 1:, 0].tolist() == [start, start + 1, start + side, start + side + 1]


def test_captions_are_true_of_their_own_picture() -> None:
    rng = generator(1)
    for picture in (("denim", "blue", None), ("denim", "blue", "scratch"), ("marble", "grey", "stain")):
        for _ in range(30):
            assert caption(rng, *picture).fits(*picture)


def test_agreement_allows_several_captions_for_a_picture() -> None:
    pictures = [("denim", "blue", "hole"), ("denim", "grey", "hole"), ("denim", "blue", None)]
    captions = [
        Caption("a damaged denim.", "denim", None, "damaged"),
        Caption("a grey denim with a hole.", "denim", "grey", "hole"),
        Caption("a blue surface.", None, "blue", "normal"),
    ]
    assert agreement(captions, pictures).tolist() == [[True, False, False], [True, True, False], [False, False, True]]
    assert set(KIND_WORDS) == set(KINDS)


def test_the_contrastive_loss_is_clips_when_one_caption_fits() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    target = torch.arange(5)
    both = [torch.nn.functional.cross_entropy(side, target) for side in (logits, logits.T)]
    torch.testing.assert_close(contrastive(logits, torch.eye(5)), sum(both) / 2)


def test_quarters_are_pooled_by_a_soft_maximum() -> None:
    scores = torch.randn(1, 49, 2, generator=torch.Generator().manual_seed(0))
    corner = scores.view(7, 7, 2)[:4, 3:].reshape(-1, 2)
    expected = ((SHARPNESS * corner).exp().mean(0)).log() / SHARPNESS
    torch.testing.assert_close(by_quarter(scores)[0, 1], expected)


def test_words_follow_what_the_crop_shows() -> None:
    batch = Pool(dataclasses.replace(SMALL, pool=64)).batch(56, 48)
    assert batch.images.shape == (48, 56, 56, 3)
    shown = batch.kind < len(KINDS)
    assert shown.any() and not shown.all()
    assert (batch.quarters[~shown] != 1).all()
    assert not any(surface in c.text for c in batch.captions for surface in TEST_SURFACES)
    assert batch.agreement.diagonal().all()


def test_gradients_are_clipped_as_one_and_a_wish_to_stop_is_passed_on() -> None:
    weights = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    gradients = Gradients(weights)
    torch.stack([3.0 * weights[0][0], 4.0 * weights[1][0]]).sum().backward()
    assert gradients.exchange(stop=True) and not gradients.exchange()
    gradients.clip(1.0)
    torch.testing.assert_close(torch.cat([gradient_of(weight) for weight in weights]), torch.tensor([0.6, 0.0, 0.8]))


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


def test_the_pool_is_the_same_after_an_interruption() -> None:
    whole = Pool(SMALL)
    whole.batch(56, 4), whole.batch(56, 4)
    expected, again = whole.batch(56, 4), Pool(SMALL, step=2).batch(56, 4)
    assert np.array_equal(expected.images, again.images) and expected.captions == again.captions


def test_a_resumed_run_takes_the_same_step(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    run, other = Pretraining(SMALL), Pretraining(dataclasses.replace(SMALL, seed=3))
    pool = Pool(SMALL)
    run.advance(pool.batch(run.crop_size(), 4))
    save(tmp_path / "c.pt", run.step, run.model, run.heads, run.optimizer, run.average)
    expected, _ = run.advance(pool.batch(run.crop_size(), 4))
    other.step = load(tmp_path / "c.pt", other.model, other.heads, other.optimizer, other.average)
    assert other.advance(Pool(SMALL, step=1).batch(56, 4))[0] == expected
    export(run.average, tmp_path / "w.safetensors")
    build().load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)


def test_the_rate_warms_up_and_falls() -> None:
    recipe = Recipe()
    assert rate_at(recipe, 0) == pytest.approx(recipe.rate / recipe.warm_up)
    assert rate_at(recipe, recipe.warm_up) == pytest.approx(recipe.rate)
    assert rate_at(recipe, recipe.steps) == pytest.approx(0.02 * recipe.rate)
