"""Where tasks run: what each is told, what is refused, and what a node does with one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import UserError
from aaclip_kit.cluster import node
from aaclip_kit.cluster.choose import chosen_place
from aaclip_kit.cluster.here import Here
from aaclip_kit.cluster.node import OnNode
from aaclip_kit.cluster.ray_nodes import RayNodes
from aaclip_kit.cluster.resources import Resources, chosen_devices
from aaclip_kit.cluster.slurm import Jobs
from aaclip_kit.cluster.task import Task
from aaclip_kit.files.lock import HOLDER


def tasks_in(folder: Path, count: int = 1) -> list[Task]:
    return [Task(f"seed_{number}", ("run", str(number)), shared=folder, folder=folder) for number in range(count)]


def refusal(on: str | None, jobs: int | None, devices: str | None, resources: str | None) -> str:
    with pytest.raises(UserError) as caught:
        chosen_place(on, jobs, devices, resources, print)
    assert caught.value.fix
    return f"{caught.value.where}: {caught.value.problem}"


def test_each_of_the_runs_at_once_sees_one_device_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, seen, most = list[str](), list[str](), list[int]()

    def run(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        device = env["CUDA_VISIBLE_DEVICES"]
        assert device not in at_work
        at_work.append(device)
        most.append(len(at_work))
        time.sleep(0.02)
        at_work.remove(device)
        seen.append(device)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("subprocess.run", run)
    place = chosen_place(None, None, "3,5", None, print)
    assert place is not None
    ends = [(task.name, ended.code) for task, ended in place.outcomes(tasks_in(tmp_path, 6))]
    assert sorted(ends) == [(f"seed_{number}", 0) for number in range(6)]
    assert set(seen) == {"3", "5"} and max(most) == 2


def test_a_task_is_asked_for_when_a_process_is_free_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, asked = threading.Event(), list[str]()

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        go.wait(5)
        return subprocess.CompletedProcess(command, 0, "", "")

    def tasks() -> Any:
        for task in tasks_in(tmp_path, 3):
            asked.append(task.name)
            if len(asked) == 2:
                go.set()
            yield task

    monkeypatch.setattr("subprocess.run", run)
    ends = Here(2).outcomes(tasks())
    next(ends)
    assert len(asked) == 2
    assert len(list(ends)) == 2


def test_devices_are_a_number_or_a_list() -> None:
    assert chosen_devices("4", None) == ("0", "1", "2", "3")
    assert chosen_devices("2", "6,7,8") == ("6", "7"), "a scheduler has said which are ours"
    assert chosen_devices("3,", None) == ("3",)
    assert chosen_devices("GPU-1,GPU-2", "0") == ("GPU-1", "GPU-2")
    for wrong in ("0", "", "1,1", ","):
        with pytest.raises(UserError):
            chosen_devices(wrong, None)
    with pytest.raises(UserError, match="3 devices are asked for, and CUDA_VISIBLE_DEVICES has 2"):
        chosen_devices("3", "0,1")


def test_options_that_do_not_go_together_are_refused() -> None:
    assert chosen_place(None, None, None, None, print) is None
    assert chosen_place(None, 1, None, None, print) is None
    assert "--jobs: 3 runs at once are more than the 2 devices" in refusal(None, 3, "0,1", None)
    assert "--resources: is for a cluster" in refusal(None, None, None, "cpus=2")
    assert "--devices: is for this machine" in refusal("slurm", None, "2", None)
    assert "--on: there is no place called 'slrum'" in refusal("slrum", None, None, None)
    assert "'cpus' is no key=value" in refusal("local", None, None, "cpus")
    assert "cpus=0 is no whole number from 1" in refusal("local", None, None, "cpus=0")


def test_what_a_task_is_given_is_read() -> None:
    assert Resources.read("cpus=4, gpus=1,partition=long") == Resources(4, 1, {"partition": "long"})
    assert Resources.read(None) == Resources(1, 0, {})


@pytest.mark.parametrize(("on", "package"), [("slurm", "submitit"), ("local", "submitit"), ("ray", "ray")])
def test_an_extra_that_is_not_installed_is_one_plain_message(
    on: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as caught:
        chosen_place(on, None, None, None, print)
    extra = "ray" if on == "ray" else "slurm"
    assert (caught.value.problem, caught.value.where) == (f"needs the package {package}", f"--on {on}")
    assert caught.value.fix == f"python -m pip install 'aaclip-kit[{extra}]'"


def test_a_cluster_that_is_not_there_is_one_plain_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal("slurm", None, None, None) == "--on slurm: cannot be reached: there is no srun here"
    pytest.importorskip("ray")
    assert "no Ray cluster is reached at 127.0.0.1:9 (" in refusal("ray", None, None, "address=127.0.0.1:9")
    assert "'ray://a:1' is no HOST:PORT" in refusal("ray", None, None, "address=ray://a:1")
    assert "there is no resource 'partition' here" in refusal("ray", None, None, "partition=long")


def test_what_slurm_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    srun = tmp_path / "srun"
    srun.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Slurm has no 'partitoin'" in refusal("slurm", None, None, "partitoin=long")
    assert isinstance(chosen_place("slurm", 3, None, "partition=long,minutes=30,mem_gb=8", print), Jobs)


def stand_in(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """The command that a node runs is this program in place of `aakit`."""
    monkeypatch.setattr(node, "command_line", lambda task: ["-c", program])


def test_a_lock_of_one_that_died_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = tmp_path / "held"
    held.touch()
    says = f"import sys, pathlib; held = pathlib.Path({str(held)!r}).exists(); held and sys.stderr.write({HOLDER!r})"
    stand_in(monkeypatch, f"{says}; sys.exit(2 * held)")
    monkeypatch.setattr(node, "_PAUSE", 0.01)
    (task,) = tasks_in(tmp_path)
    assert OnNode(task, Resources(), patience=0.0)().code == 2
    timer = threading.Timer(0.3, held.unlink)
    timer.start()
    assert OnNode(task, Resources(), patience=30.0)().code == 0
    timer.join()


def test_a_node_that_does_not_see_the_folders_says_so(tmp_path: Path) -> None:
    task = Task("seed_1", ("run",), shared=tmp_path / "nowhere", folder=tmp_path)
    ended = OnNode(task, Resources())()
    assert ended.code == 2 and f"does not see {tmp_path / 'nowhere'}\n    fix: " in ended.said


def test_a_process_has_the_threads_it_was_given_and_what_names_folders_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "import os, sys; sys.stderr.write(os.environ['OMP_NUM_THREADS'] + os.environ['AAKIT_DATA'])")
    task = Task("a", (), shared=tmp_path, folder=tmp_path, variables={"AAKIT_DATA": "/d"})
    assert OnNode(task, Resources(3))().said == "3/d"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ties a process to its parent")
def test_a_process_is_asked_to_end_when_the_one_that_started_it_is_killed(tmp_path: Path) -> None:
    waits = (
        "import signal, sys, time, pathlib; signal.signal(15, lambda *_: (pathlib.Path('told').touch(), sys.exit()))"
    )
    waits += "; pathlib.Path('ready').touch(); time.sleep(30)"
    starts = (
        "import os, subprocess, sys, time; subprocess.Popen([sys.executable, '-P', '-m', 'aaclip_kit.cluster.tied',"
    )
    starts += f" str(os.getpid()), '-c', {waits!r}]); time.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", starts], cwd=tmp_path) as parent:
        wait_for(tmp_path / "ready")
        parent.kill()
    wait_for(tmp_path / "told")


def test_a_task_that_was_given_no_gpu_sees_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    stand_in(monkeypatch, "import os, sys; sys.stderr.write('sees ' + os.environ['CUDA_VISIBLE_DEVICES'])")
    (task,) = tasks_in(tmp_path)
    assert OnNode(task, Resources())().said == "sees "
    assert OnNode(task, Resources(gpus=1))().said == "sees 5", "the scheduler's"


def test_a_stop_waits_until_the_process_has_saved_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves = "lambda *_: (time.sleep(0.2), pathlib.Path('saved').touch(), sys.exit(143))"
    program = f"import signal, sys, time, pathlib; signal.signal(15, {saves})"
    stand_in(monkeypatch, f"{program}; pathlib.Path('ready').touch(); time.sleep(30)")
    (task,) = tasks_in(tmp_path)
    work, ends = OnNode(task, Resources()), list[int]()
    thread = threading.Thread(target=lambda: ends.append(work().code))
    thread.start()
    wait_for(tmp_path / "ready")
    work.stop()
    assert (tmp_path / "saved").exists()
    thread.join()
    assert ends == [143]


def wait_for(file: Path) -> None:
    until = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < until, f"{file.name} never came"
        time.sleep(0.01)


def test_ray_says_nothing_to_anybody_of_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    with pytest.raises(UserError):
        RayNodes(Resources(more={"address": "127.0.0.1:9"}), None, print).check()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
