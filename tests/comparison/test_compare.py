"""Which runs are compared, what is paired, and what is said of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.comparison import paper
from aaclip_kit.comparison.compare import Comparison, compare
from aaclip_kit.comparison.finished_runs import gather
from aaclip_kit.comparison.paired_statistics import Interval, Signs, judge
from aaclip_kit.comparison.write import NAMES, cost_rows, intervals_svg, markdown, screen_table, title, write_comparison

from ..helpers import assert_close
from .made import Values, result, write_run, write_seeds

CLASSES = ("a", "b", "c", "d", "e", "f")
SEEDS = (111, 112, 113, 114, 115)
Pair = Callable[..., Comparison]


def table(shift: float = 0.0, slope: float = 0.0) -> dict[int, dict[str, float]]:
    """Values that depend on seed and class; `shift` is added to all, `slope` more with each seed from the middle."""
    return {
        seed: {
            name: 0.5 + 0.01 * row + 0.02 * column + shift + slope * (row - 2) for column, name in enumerate(CLASSES)
        }
        for row, seed in enumerate(SEEDS)
    }


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Compare a table with the plain one."""

    def compared(other: dict[int, dict[str, float]], **options: object) -> Comparison:
        first = write_seeds(tmp_path / "plain", table())
        return compare(gather([first, write_seeds(tmp_path / "other", other)]), **options)  # type: ignore[arg-type]

    return compared


def test_a_shift_of_every_pair_is_found_exactly(pair: Pair) -> None:
    found = pair(table(shift=0.012)).differences["other"]["pixel_auroc"]
    assert_close(found.mean, 0.012)
    assert found.bootstrap is not None and found.over_seeds is not None
    assert_close([found.bootstrap.low, found.bootstrap.high, found.over_seeds.low], [0.012] * 3)
    assert (found.seed_signs.higher, found.pair_signs.higher, found.pairs, found.left_out) == (5, 30, 30, 0)
    assert found.verdict.kind == "shown"
    assert found.verdict.text == "higher by 0.0120 (0.0120 to 0.0120), 5 of 5 seeds"
    assert_close(list(found.of_seed.values()), [0.012] * 5)
    assert list(found.of_class) == list(CLASSES)


def test_seeds_that_differ_both_ways_show_nothing(pair: Pair) -> None:
    found = pair(table(slope=0.02)).differences["other"]["pixel_auroc"]
    assert_close(found.mean, 0.0)
    assert (found.verdict.kind, found.verdict.text) == ("not shown", "no difference shown at this number of seeds")
    assert_close([found.of_seed[111], found.of_seed[115]], [-0.04, 0.04])


def test_a_gain_on_some_classes_is_shown_on_these_alone(pair: Pair) -> None:
    other = table()
    for row, seed in enumerate(SEEDS):
        other[seed]["a"] -= 0.06 + 0.001 * row
        other[seed]["b"] += 0.01
    found = pair(other).differences["other"]["pixel_auroc"]
    assert found.verdict.kind == "shown on these classes"
    assert found.verdict.text.startswith("lower by 0.0087 on these classes (0.00")
    assert found.verdict.text.endswith("5 of 5 seeds; not shown beyond them")


def test_one_common_seed_gives_a_difference_and_no_verdict(pair: Pair) -> None:
    other = {111: table(0.1)[111], 999: table()[115]}
    comparison = pair(other)
    found = comparison.differences["other"]["pixel_auroc"]
    assert_close(found.mean, 0.1)
    assert (found.bootstrap, found.over_seeds) == (None, None)
    assert (found.verdict.kind, found.verdict.text) == ("one seed", "one seed: nothing can be said")
    assert "other: seeds 112, 113, 114, 115, 999 are not in both, and stand in no difference" in comparison.notes


def test_undefined_values_are_left_out_of_pairs_and_counted(pair: Pair) -> None:
    other = {seed: {**values, "a": None} for seed, values in table(0.1).items()}
    other[111]["b"] = None
    comparison = pair(other)
    found = comparison.differences["other"]["pixel_auroc"]
    assert (found.pairs, found.left_out, found.of_class["a"]) == (24, 6, None)
    assert_close(found.mean, 0.1)
    assert "(6 pairs undefined)" in markdown(comparison)


def test_a_metric_without_values_says_so(pair: Pair) -> None:
    other = {seed: dict.fromkeys(values) for seed, values in table().items()}
    found = pair(other).differences["other"]["pixel_auroc"]
    assert (found.mean, found.verdict.kind) == (None, "undefined")
    assert found.verdict.text == "undefined: no pair has both values"


def test_summaries_are_mean_and_deviation_of_the_seeds(pair: Pair) -> None:
    found = pair(table(0.1)).summaries["plain"]["pixel_auroc"]
    assert_close([found.mean, found.deviation], [0.5 + 0.02 + 0.05, 0.01 * 2.5**0.5])
    assert found.seeds == 5


def test_the_reported_loop_is_taken_unless_one_is_named(tmp_path: Path) -> None:
    loops: list[Values] = [{"a": {"pixel_auroc": 0.6}}, {"a": {"pixel_auroc": 0.8}}]
    write_run(tmp_path / "x", 1, loops, quoted=1)
    write_run(tmp_path / "y", 1, loops)
    groups = gather([tmp_path / "x", tmp_path / "y"])
    means = {loop: compare(groups, loop=loop).differences["y"]["pixel_auroc"].mean for loop in (None, 0, 1, 2)}
    assert_close(list(means.values()), [0.2, 0.0, 0.0, 0.0])
    with pytest.raises(UserError, match="has no loop 3; its last is 2"):
        compare(groups, loop=3)


def test_metrics_that_older_runs_lack_are_left_out_and_named(tmp_path: Path) -> None:
    write_run(tmp_path / "old", 1, [{"a": {"pixel_auroc": 0.6}}])
    write_run(tmp_path / "new", 1, [{"a": {"pixel_auroc": 0.6, "image_ap": 0.7}}])
    groups = gather([tmp_path / "old", tmp_path / "new"])
    found = compare(groups)
    assert found.metrics == ("pixel_auroc",)
    assert "image_ap was not measured by every run, and is left out" in found.notes
    with pytest.raises(UserError, match="'image_ap' was not measured by old"):
        compare(groups, metrics=["image_ap"])
    with pytest.raises(UserError, match="no metric called 'image_auc'") as caught:
        compare(groups, metrics=["image_auc"])
    assert "did you mean 'image_auroc'" in str(caught.value)


def test_runs_on_other_test_data_are_refused_with_their_classes(tmp_path: Path) -> None:
    write_run(tmp_path / "x", 1, [{"a": {"pixel_auroc": 0.6}, "b": {"pixel_auroc": 0.6}}])
    write_run(tmp_path / "y", 1, [{"a": {"pixel_auroc": 0.6}, "c": {"pixel_auroc": 0.6}}], data="two")
    with pytest.raises(UserError) as caught:
        compare(gather([tmp_path / "x", tmp_path / "y"]))
    assert "other data" in str(caught.value)
    assert "only here: c; only in" in str(caught.value) and ": b)" in str(caught.value)


def test_groups_without_a_common_seed_are_refused(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path / f"x{seed}", seed, [{"a": {"pixel_auroc": 0.6}}])
    with pytest.raises(UserError, match="shares no seed with x1"):
        compare(gather([tmp_path / "x1", tmp_path / "x2"]))


def test_the_baseline_is_the_first_or_the_named(tmp_path: Path) -> None:
    for name in ("x", "y", "z"):
        write_run(tmp_path / name, 1, [{"a": {"pixel_auroc": 0.6}}])
    groups = gather([tmp_path / name for name in ("x", "y", "z")])
    assert list(compare(groups).differences) == ["y", "z"]
    assert list(compare(groups, "y").differences) == ["x", "z"]
    with pytest.raises(UserError, match="no run called 'w'"):
        compare(groups, "w")


def test_an_ablation_folder_gives_its_variants_in_the_order_of_its_file(tmp_path: Path) -> None:
    for name in ("alpha", "beta", "gamma"):
        write_seeds(tmp_path / name, {1: {"a": 0.5}})
    write_seeds(tmp_path / "elsewhere" / "beta", {1: {"a": 0.5}})
    (tmp_path / "logs").mkdir()
    assert [group.label for group in gather([tmp_path])] == ["alpha", "beta", "gamma"]
    (tmp_path / "ablation.json").write_text(json.dumps({"variants": ["gamma", "absent", "alpha"]}))
    assert [group.label for group in gather([tmp_path])] == ["gamma", "alpha", "beta"]
    two = gather([tmp_path / "beta", tmp_path / "elsewhere" / "beta"])
    assert [group.label for group in two] == [f"{tmp_path.name}/beta", "elsewhere/beta"]


def test_variants_without_a_finished_run_are_named_in_an_ablation_and_nothing_is_said_of_groups_that_one_names(
    tmp_path: Path,
) -> None:
    for name in ("alpha", "gamma"):
        write_seeds(tmp_path / name, {1: {"a": 0.5}})
    (tmp_path / "begun" / "seed_1").mkdir(parents=True)
    (tmp_path / "begun" / "seed_1" / "events.jsonl").touch()
    (tmp_path / "ablation.json").write_text(json.dumps({"variants": ["alpha", "absent", "gamma"]}))
    said = tuple(f"{tmp_path / name}: no finished run, left out" for name in ("absent", "begun"))
    comparison = compare(gather([tmp_path]))
    assert comparison.notes == said
    assert f"% note: {said[0]}\n" in paper.table(comparison, "latex")
    assert f"\n- {said[1]}\n" in paper.table(comparison, "markdown")
    assert compare(gather([tmp_path / "alpha", tmp_path / "gamma"])).notes == ()
    assert compare(gather([tmp_path / "alpha"], (tmp_path / "absent",))).notes == said[:1]


def test_unfinished_runs_are_left_out_and_named(tmp_path: Path) -> None:
    folder = write_seeds(tmp_path / "x", {1: {"a": 0.5}, 2: {"a": 0.6}})
    late = json.loads((folder / "seed_2" / "metrics.json").read_text())
    del late["quoted"]
    (folder / "seed_2" / "metrics.json").write_text(json.dumps(late))
    (folder / "seed_3").mkdir()
    (folder / "seed_3" / "events.jsonl").touch()
    write_seeds(folder, {4: {"a": 0.5}})
    going_on = {**json.loads((folder / "seed_4" / "manifest.json").read_text()), "finished": None}
    (folder / "seed_4" / "manifest.json").write_text(json.dumps(going_on))
    (group,) = gather([folder])
    assert (list(group.runs), group.unfinished) == ([1], ("seed_2", "seed_3", "seed_4"))
    assert compare([group]).notes == ("x: seed_2, seed_3, seed_4 unfinished, left out",)
    with pytest.raises(UserError, match="holds no finished run"):
        gather([folder / "seed_2"])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda x: (x / "seed_1" / "metrics.json").write_text("{"), "cannot be read"),
        (lambda x: (x / "seed_1" / "metrics.json").write_text("[]"), "holds no JSON object"),
        (lambda x: (x / "seed_1" / "manifest.json").unlink(), "there is no such file"),
        (lambda x: (x / "seed_1" / "manifest.json").write_text('{"finished": "x"}'), "not as a run writes it"),
        (lambda x: (x / "seed_1" / "metrics.json").write_text('{"quoted": {}}'), "not as a run writes it"),
        (lambda x: (x / "seed_1").rename(x / "other") and write_seeds(x, {1: {"a": 0.5}}), "both have seed 1"),
    ],
)
def test_damaged_folders_are_named(tmp_path: Path, spoil: Callable[[Path], object], said: str) -> None:
    folder = write_seeds(tmp_path / "x", {1: {"a": 0.5}})
    spoil(folder)
    with pytest.raises(UserError, match=said) as caught:
        gather([folder])
    assert caught.value.fix and str(folder) in str(caught.value.where)


def test_a_folder_that_is_absent_empty_or_named_twice_is_refused(tmp_path: Path) -> None:
    folder = write_seeds(tmp_path / "x", {1: {"a": 0.5}})
    (tmp_path / "empty").mkdir()
    for paths, said in (
        ([tmp_path / "none"], "there is no such folder"),
        ([tmp_path / "empty"], "holds no finished run"),
        ([folder, folder / ".." / "x"], "is named twice"),
    ):
        with pytest.raises(UserError, match=said):
            gather(paths)


def test_what_is_written_agrees_with_what_was_found(pair: Pair, tmp_path: Path) -> None:
    comparison = pair(table(shift=-0.012))
    paths = write_comparison(comparison, tmp_path / "deep" / "out")
    assert [path.name for path in paths] == list(NAMES)
    record = json.loads(paths[0].read_text())
    found = record["differences"]["other"]["pixel_auroc"]
    assert_close(found["mean"], -0.012)
    assert_close(found["bootstrap"]["low"], -0.012)
    verdict = found["verdict"]
    assert (verdict["kind"], verdict["text"]) == ("shown", "lower by 0.0120 (0.0120 to 0.0120), 5 of 5 seeds")
    assert_close([verdict["interval"]["low"], verdict["interval"]["high"]], [-0.012] * 2)
    assert (record["baseline"], record["loop"], record["runs"]["plain"]["loops"]["111"]) == ("plain", "quoted", 1)
    page, text = paths[2].read_text(), paths[1].read_text()
    for written in (page, text):
        assert "lower by 0.0120 (0.0120 to 0.0120), 5 of 5 seeds" in written
        assert "0 of 30" in written and "The bootstrap draws the seeds" in written
    assert "<svg" in page
    assert not re.search(r"(src|href)=.https?:|url\(http|<script", page), "a page that loads nothing"
    assert write_comparison(comparison, tmp_path / "again")[2].read_text() == page


def test_what_runs_took_is_told_by_the_median_of_those_that_trained_in_one_go(tmp_path: Path) -> None:
    values: list[Values] = [{name: {"pixel_auroc": 0.5} for name in "abcde"}]
    costs = [(10.0, 2_000_000_000), (30.0, 1_000_000_000), (14.4, 1_500_000_000), (None, 9_000_000_000)]
    for seed, (seconds, peak) in enumerate(costs):
        took = {"processor_seconds": seconds, "peak_memory_bytes": peak}
        write_run(tmp_path / "plain" / f"seed_{seed}", seed, values, facts=took)
        write_run(tmp_path / "again" / f"seed_{seed}", seed, values, facts={**took, "rescored_from": "plain"})
    comparison = compare(gather([tmp_path / "plain", tmp_path / "again"]))
    assert cost_rows(comparison) == [("plain", "14", "1.50"), ("again", "–", "–")]
    paths = write_comparison(comparison, tmp_path / "out")
    runs = json.loads(paths[0].read_text())["runs"]
    assert runs["plain"]["cost"] == {"seconds": 14.4, "peak_bytes": 1_500_000_000}
    assert runs["again"]["cost"] is None
    assert "| plain | 14 | 1.50 |" in paths[1].read_text()
    assert "<td>14</td><td>1.50</td>" in paths[2].read_text()
    older = compare(gather([write_seeds(tmp_path / "older", {1: {"a": 0.5}})]))
    assert cost_rows(older) == [] and "took" not in markdown(older)


def test_the_interval_that_decides_is_the_one_that_is_shown(pair: Pair, tmp_path: Path) -> None:
    """Of five seeds two are far off: the bootstrap leaves out zero, and the t interval, which decides, does not."""
    values = table()
    for row, shift in zip(values.values(), (0.001, 0.002, 0.003, 0.06, 0.07), strict=True):
        row.update({name: value + shift for name, value in row.items()})
    comparison = pair(values)
    found = comparison.differences["other"]["pixel_auroc"]
    assert found.bootstrap is not None and found.over_seeds is not None
    assert found.bootstrap.low > 0 > found.over_seeds.low
    assert (found.verdict.kind, found.verdict.interval) == ("not shown", found.over_seeds)
    shown = f"{found.over_seeds.low:+.4f} to {found.over_seeds.high:+.4f}"
    heads, rows = screen_table(comparison, "pixel_auroc")
    assert heads[-1] == "95 %" and rows[1][-1] == shown
    assert markdown(comparison).count(f"| {shown} | {found.bootstrap.low:+.4f} to") == 1
    drawn: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.axes.Axes.plot", lambda axes, x, *rest, **style: drawn.append(x))
        intervals_svg({"other": found}, "plain")
    assert drawn[0] == [found.over_seeds.low, found.over_seeds.high]


def test_a_difference_that_is_shown_has_the_interval_that_covers_both() -> None:
    signs = Signs(5, 0, 0, 0.0625)
    found = judge(0.3, bootstrap=Interval(0.1, 0.4), over_seeds=Interval(0.2, 0.5), drawn=True, seeds=signs)
    assert (found.interval, found.text) == (Interval(0.1, 0.5), "higher by 0.3000 (0.1000 to 0.5000), 5 of 5 seeds")
    found = judge(0.3, bootstrap=Interval(-0.1, 0.4), over_seeds=Interval(0.2, 0.5), drawn=True, seeds=signs)
    assert (found.kind, found.interval) == ("shown on these classes", Interval(0.2, 0.5))
    found = judge(0.3, bootstrap=None, over_seeds=None, drawn=False, seeds=signs)
    assert (found.kind, found.interval) == ("one seed", None)


def test_a_value_that_there_is_not_is_an_en_dash(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, 1, [{"a": {"pixel_auroc": None}}]) for name in ("one", "two")]
    comparison = compare(gather(folders))
    assert "| two | 1 | – | – | – | – | – |" in markdown(comparison)
    assert "<td>–</td>" in write_comparison(comparison, tmp_path / "out")[2].read_text()


def loops_of(folder: Path, seeds: Iterable[int] = (1, 2, 3)) -> Path:
    """Runs of two loops; in loop 2 every class is higher by one tenth."""
    for seed in seeds:
        loops: list[Values] = [{name: {"pixel_auroc": 0.5 + 0.01 * seed + up} for name in CLASSES} for up in (0.0, 0.1)]
        write_run(folder / f"seed_{seed}", seed, loops)
    return folder


def test_two_loops_of_one_run_are_paired(tmp_path: Path) -> None:
    runs = loops_of(tmp_path / "runs")
    comparison = compare(gather([Path(f"{runs}:loop1"), Path(f"{runs}:loop_2"), runs]), loop=0)
    assert list(comparison.groups) == ["runs:loop1", "runs:loop2", "runs"]
    assert_close(comparison.differences["runs:loop2"]["pixel_auroc"].mean, 0.1)
    assert_close(comparison.summaries["runs"]["pixel_auroc"].mean, 0.5)
    assert title(compare(gather([Path(f"{runs}:loop1"), Path(f"{runs}:loop2")]))) == "runs:loop2 against runs:loop1"
    for named, said in (("loop1", "is named twice"), ("loop3", "has no loop 3; its last is 2")):
        with pytest.raises(UserError, match=said):
            gather([Path(f"{runs}:loop1"), Path(f"{runs}:{named}")])
    with pytest.raises(UserError, match="is named twice") as caught:
        gather([runs, runs])
    assert f"{runs}:loop1" in str(caught.value.fix)


def write_evaluation(folder: Path, value: float, **facts: object) -> Path:
    """What `aakit evaluate` writes."""
    folder.mkdir(parents=True)
    values: Values = {name: {"pixel_auroc": value} for name in CLASSES}
    (folder / "evaluation.json").write_text(json.dumps({"data": {"sha256": "one"}, **facts, **result(values)}))
    return folder


def test_an_evaluation_is_paired_by_its_seed(tmp_path: Path) -> None:
    runs = loops_of(tmp_path / "runs")
    for seed in (1, 2, 3):
        write_evaluation(tmp_path / "evaluated" / f"seed_{seed}", 0.65 + 0.01 * seed, seed=seed)
    found = compare(gather([runs, tmp_path / "evaluated"])).differences["evaluated"]["pixel_auroc"]
    assert_close(list(found.of_seed.values()), [0.05] * 3)
    assert list(found.of_seed) == [1, 2, 3]


def test_a_model_without_a_seed_stands_beside_every_seed(tmp_path: Path) -> None:
    runs, imported = loops_of(tmp_path / "runs"), write_evaluation(tmp_path / "imported", 0.6, seed=None)
    comparison = compare(gather([imported / "evaluation.json", runs]))
    found = comparison.differences["runs"]["pixel_auroc"]
    assert_close(list(found.of_seed.values()), [0.01, 0.02, 0.03])
    assert comparison.notes[0].startswith("evaluation.json: one model, without a seed")
    alone = compare(gather([imported, write_evaluation(tmp_path / "other", 0.7)])).differences["other"]["pixel_auroc"]
    assert (alone.verdict.kind, alone.pairs) == ("one seed", len(CLASSES))
    write_evaluation(tmp_path / "runs" / "more", 0.7)
    with pytest.raises(UserError, match="says no seed"):
        gather([runs])
    (imported / "evaluation.json").write_text('{"data": {}, "classes": {}, "mean": {}}')
    with pytest.raises(UserError, match="holds no result of an evaluation"):
        gather([imported])
    with pytest.raises(UserError, match="has no loops"):
        gather([Path(f"{imported}:loop1")])


def test_a_checkpoint_alone_is_to_be_evaluated_first(tmp_path: Path) -> None:
    (tmp_path / "imported.safetensors").touch()
    for path in (tmp_path, tmp_path / "imported.safetensors"):
        with pytest.raises(UserError, match="holds no results") as caught:
            gather([path])
        assert f"aakit evaluate {path} --out FOLDER" in str(caught.value.fix)


def test_a_dollar_in_a_name_is_no_formula(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, 1, [{"a": {"pixel_auroc": 0.5}}]) for name in ("$_base", r"a$\no$")]
    comparison = compare(gather(folders))
    written = write_comparison(comparison, tmp_path / "out")[2].read_text()
    assert ">less $_base<" in written
    assert r">a$\no$</text>" in written


def test_training_data_that_differ_by_seed_alone_are_no_difference(tmp_path: Path) -> None:
    loops: list[Values] = [{"a": {"pixel_auroc": 0.5}}]
    for name, prints in (("x", "st"), ("y", "st"), ("z", "sz")):
        for seed, train in enumerate(prints):
            write_run(tmp_path / name / f"seed_{seed}", seed, loops, train=train)
    assert compare(gather([tmp_path / "x", tmp_path / "y"])).notes == ()
    assert compare(gather([tmp_path / "x", tmp_path / "z"])).notes == ("the runs were trained on different data",)


def test_a_page_that_no_comparison_has_written_is_kept(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / NAMES[1]).write_text("notes")
    with pytest.raises(UserError, match="is there already, and no earlier comparison"):
        write_comparison(pair(table()), tmp_path)
    assert (tmp_path / NAMES[1]).read_text() == "notes"


def test_an_output_that_cannot_be_written_is_one_plain_error(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_comparison(pair(table()), tmp_path / "file")
