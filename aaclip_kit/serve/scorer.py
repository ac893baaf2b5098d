"""One thread that scores what is waiting: whatever has come meanwhile is one batch."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import Any, Final, NamedTuple

from ..contracts.data import DataSet, Sample
from ..data.manifests import Listed
from ..inference.load_model import TrainedModel
from ..inference.prediction import Prediction
from ..inference.score_images import Scoring, real_names
from .given import Given

_PATIENCE: Final = 60.0
"""Seconds that an end waits for the batch that is being scored."""


_MAPS: Final = 4
"""Answers made at once beside the scoring: the map of an image of 100 megapixels takes 0.4 GB."""

Answer = dict[str, Any]
Make = Callable[[Prediction], Answer]


class _Waiting(NamedTuple):
    given: Given
    make: Make
    done: "Future[Answer]"


class Scorer:
    """Scores pictures in the order in which they are given, each as `aakit predict` does, and makes their answers.

    `on_fault` is told of what a model raises; one bad picture of a batch does not harm the others.
    """

    def __init__(self, model: TrainedModel, scoring: Scoring, on_fault: Callable[[Exception], None]) -> None:
        self.model, self.scoring, self.on_fault = model, scoring, on_fault
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="scorer", daemon=True)
        self._makers, self._maps = ThreadPoolExecutor(_MAPS), BoundedSemaphore(_MAPS)

    @property
    def names(self) -> dict[str, str]:
        """The class of the images, and what prompts call it."""
        return real_names(self.model, [Listed(_name(1), None)], self.scoring)

    @property
    def is_alive(self) -> bool:
        """Whether pictures are being scored, or would be."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many pictures wait for their turn."""
        return self._queue.qsize()

    def __enter__(self) -> "Scorer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Score what is waiting, and end."""
        self._queue.put(None)
        self._thread.join(_PATIENCE)
        self._makers.shutdown()

    def submit(self, given: Given, make: Make) -> "Future[Answer]":
        """Let a picture wait for its turn; `make` makes its answer. One that is cancelled before is left out."""
        waiting = _Waiting(given, make, Future())
        self._queue.put(waiting)
        return waiting.done

    def _work(self) -> None:
        most, ended = self.model.evaluator.table.batch_size, False
        while not ended:
            batch = [self._queue.get()]
            while len(batch) < most and batch[-1] is not None:
                try:
                    batch.append(self._queue.get_nowait())
                except Empty:
                    break
            ended = batch[-1] is None
            if wanted := [one for one in batch if one is not None and one.done.set_running_or_notify_cancel()]:
                self._score(wanted)

    def _score(self, batch: Sequence[_Waiting]) -> None:
        left = deque(batch)
        try:
            for prediction in self._predicted([one.given for one in batch]):
                self._maps.acquire()
                self._makers.submit(self._answer, left.popleft(), prediction)
        except Exception as error:  # a plugin may raise anything, and the others are still waiting
            if len(batch) > 1:
                for one in left:
                    self._score([one])
                return
            self.on_fault(error)
            left[0].done.set_exception(error)

    def _answer(self, waiting: _Waiting, prediction: Prediction) -> None:
        try:
            waiting.done.set_result(waiting.make(prediction))
        except Exception as error:
            self.on_fault(error)
            waiting.done.set_exception(error)
        finally:
            self._maps.release()

    def _predicted(self, pictures: Sequence[Given]) -> Iterator[Prediction]:
        scoring, decoded = self.scoring, self.model.decoded(self.scoring.tiles, held=True)
        (name,) = self.names
        samples = tuple(Sample(_name(number), name, 0) for number, _ in enumerate(pictures, start=1))
        for sample, given in zip(samples, pictures, strict=True):
            decoded.hold(sample.image, given.picture, self.model.evaluator.pixels.size)
        return self.model.predictions(
            DataSet(samples, self.names, scoring.domain), [given.size for given in pictures], scoring.thresholds,
            decoded, least_area=scoring.least_area, looked_at=scoring.looked_at, held=True,
        )  # fmt: skip


def _name(number: int) -> Path:
    return Path(f"image {number}")
