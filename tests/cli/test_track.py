"""`aakit track`: a run that is there, sent to each tracker's own package; and everything that keeps it from that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from aaclip_kit.record.run_folder import read_events

from ..command import Command

FILE = Path(__file__).parents[1] / "tracking" / "recorded.py"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A finished run's folder."""
    return Path(shutil.copytree(trained, tmp_path / "first"))


def steps_of(run: Path) -> int:
    return sum(event["event"] == "step" for event in read_events(run))


def test_it_is_sent_once_and_again_where_asked(aakit: Command, run: Path, tmp_path: Path) -> None:
    ran = aakit("track", run, "--to", "csv")
    events, pictures = len(read_events(run)), len(list((run / "heatmaps").iterdir()))
    assert ran.code == 0 and f"csv: {events} events and {pictures} pictures are sent" in ran.out
    table = run / "tracking" / "csv" / "scalars.csv"
    before = table.read_bytes()
    again = aakit("track", run, "--to", "csv")
    assert again.code == 0 and "csv has everything of this run already" in again.out
    assert table.read_bytes() == before
    other = aakit("track", run, "--to", "csv", "--set", f"folder={tmp_path / 'curves'}")
    assert other.code == 0 and (tmp_path / "curves" / "first" / "scalars.csv").read_bytes() == before
    shutil.rmtree(run / "tracking" / "csv")
    assert aakit("track", run, "--to", "csv").code == 0 and table.read_bytes() == before


def test_the_options_that_the_run_had_are_taken(aakit: Command, run: Path, tmp_path: Path) -> None:
    (run / "trackers.toml").write_text(f'[[trackers]]\nuse = "csv"\nfolder = "{tmp_path / "curves"}"\n')
    assert aakit("track", run, "--to", "csv").code == 0
    assert (tmp_path / "curves" / "first" / "scalars.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "--to", "csv"), "nowhere: there is no such folder"),
        (("empty", "--to", "csv"), "empty: holds no run (experiment.toml is missing)"),
        (("begun", "--to", "csv"), "begun: the run has no events (events.jsonl)"),
        (("first", "--to", "csw"), "--to: there is no tracker called 'csw'"),
        (("first", "--to", "csv", "--set", "foldr=x"), "--set: tracker.foldr: unknown key"),
        (("first", "--to", "csv", "--set", "folder"), "'tracker.folder' is not of the form"),
        (("first", "--to", "csv", "--set", "folder=a_file"), "--set folder: a_file is a file"),
        (("first", "--to", "wandb"), "--to: needs the package wandb, which is not installed"),
        (("first", "--to", "refuses", "--experiment", "own.toml"), "raised ConnectionError in `begin`: no server"),
        (("first", "--to", "impossible", "--experiment", "own.toml"), "--to: needs a lake"),
        (("damaged", "--to", "csv"), "line 1 is damaged"),
    ],
)
def test_what_keeps_it_from_that_is_one_plain_error(
    aakit: Command, run: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    folder = run.parent
    monkeypatch.chdir(folder)
    monkeypatch.setattr("aaclip_kit_plugins.trackers.needed.find_spec", lambda package: None)
    (folder / "empty").mkdir()
    for name, text in (("begun", ""), ("damaged", "{\n")):
        (folder / name).mkdir()
        (folder / name / "experiment.toml").write_text('name = "x"\n')
        (folder / name / "events.jsonl").write_text(text)
    Path("a_file").touch()
    Path("own.toml").write_text(f'plugins = ["{FILE}"]\n')
    ran = aakit("track", *arguments)
    assert ran.code == 2 and said in ran.err and "fix: " in ran.err, ran.err
    assert "Traceback" not in ran.err and "\x1b" not in ran.err
    assert not (run / "tracking").exists() or not list((run / "tracking").rglob("scalars.csv"))


def test_tensorboard_reads_what_is_written(aakit: Command, run: Path) -> None:
    pytest.importorskip("tensorboard", reason="the tracker needs the package tensorboard")
    assert aakit("track", run, "--to", "tensorboard").code == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tracking" / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    losses = {event.step: event.value for phase in ("text", "vision") for event in found.Scalars(f"train/{phase}/loss")}
    said = [event["loss"] for event in read_events(run) if event["event"] == "step"]
    assert [losses[step] for step in range(1, steps_of(run) + 1)] == pytest.approx(said, rel=1e-6)
    assert [event.step for event in found.Scalars("test/mean/pixel_auroc")] == [0, steps_of(run) // 2, steps_of(run)]
    pictures = {f"heatmaps/{file.stem}": file.read_bytes() for file in (run / "heatmaps").iterdir()}
    shown = {name: found.Images(name)[0].encoded_image_string for name in found.Tags()["images"]}
    assert shown == pictures
    (text,) = found.Tensors("experiment")
    assert b'name = "small"' in text.tensor_proto.string_val[0]
    (link,) = found.Tensors("report")
    assert (run / "report.html").as_uri().encode() in link.tensor_proto.string_val[0]


@pytest.mark.filterwarnings("ignore")  # those of the package
def test_mlflow_finds_what_is_sent(aakit: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the tracker needs the package mlflow-skinny")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (run.parent / "store").as_uri()
    ran = aakit("track", run, "--to", "mlflow", "--set", f"uri={uri}", "--set", "experiment=surfaces")
    assert ran.code == 0, ran.err
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("surfaces")
    assert experiment is not None
    (kept,) = client.search_runs([experiment.experiment_id])
    assert (kept.info.run_name, kept.info.status) == ("first", "FINISHED")
    assert kept.data.params["stages.text_adapter.tower"] == "text"
    assert kept.data.tags["report"] == (run / "report.html").as_uri()
    auroc = client.get_metric_history(kept.info.run_id, "test/mean/pixel_auroc")
    metrics = json.loads((run / "metrics.json").read_text())
    expected = [one["mean"]["pixel_auroc"] for one in (metrics["before"], *metrics["loops"])]
    assert [metric.value for metric in sorted(auroc, key=lambda metric: metric.step)] == expected
    names = {one.path for one in client.list_artifacts(kept.info.run_id)}
    assert names == {"experiment.toml", "heatmaps"}
    assert len(client.list_artifacts(kept.info.run_id, "heatmaps")) == len(list((run / "heatmaps").iterdir()))


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_does_not_answer_is_one_plain_error(
    aakit: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="the tracker needs the package mlflow-skinny")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ran = aakit("track", run, "--to", "mlflow", "--set", "uri=http://127.0.0.1:9")
    assert ran.code == 2 and "tracker 'mlflow' raised MlflowException in `begin`" in ran.err and "fix: " in ran.err
    assert "Connection refused" in ran.err or "failed" in ran.err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_keeps_it_for_later(aakit: Command, run: Path) -> None:
    pytest.importorskip("wandb", reason="the tracker needs the package wandb")
    ran = aakit("track", run, "--to", "wandb", "--set", "mode=offline")
    assert ran.code == 0, ran.err
    (place,) = (run / "tracking").glob("wandb-*")
    assert str(place) in ran.out
    name = json.loads((place / "sent.json").read_text())["id"]
    (kept,) = (place / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb")
    content = kept.read_bytes()
    for said in (b"train/vision/loss", b"test/mean/pixel_auroc", b"stages.text_adapter.tower", b"heatmaps/"):
        assert said in content
    assert b"first" in content
