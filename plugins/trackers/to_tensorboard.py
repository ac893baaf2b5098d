"""The tracker `tensorboard`: event files, written by TensorBoard's own package; neither torch nor TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aaclip_kit import Point, TrackedRun, Tracker

from . import TensorboardOptions
from .needed import check_folder, check_installed, folder_of


class ToTensorboard(Tracker):
    """Scalars, pictures, and the experiment with the link to the report as text."""

    def __init__(self, options: TensorboardOptions) -> None:
        check_installed("tensorboard", "tensorboard")
        check_folder(options.folder)
        self.options = options

    def begin(self, run: TrackedRun) -> str:
        """Open a new file of events; TensorBoard shows all of a folder as one run."""
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.event, self.summary = event_pb2.Event, summary_pb2.Summary
        folder = folder_of(run, self.options.folder)
        self.writer = EventFileWriter(str(folder))
        if run.earlier is None:
            # Four blanks before each line: code, by the rules of Markdown.
            code = "\n".join(f"    {line}" for line in run.experiment.splitlines())
            for name, text in (("experiment", code), ("report", f"[{run.report.name}]({run.report.as_uri()})")):
                said = tensor_pb2.TensorProto(dtype="DT_STRING", string_val=[text.encode()])
                about = create_summary_metadata(display_name=name, description="")
                self._write(0, self.summary.Value(tag=name, tensor=said, metadata=about))
            self.writer.flush()
        return str(folder)

    def scalars(self, points: Sequence[Point]) -> None:
        """Write an event for each point."""
        for point in points:
            values = (self.summary.Value(tag=name, simple_value=value) for name, value in point.values.items())
            self._write(point.step, *values)
        self.writer.flush()

    def picture(self, step: int, name: str, file: Path) -> None:
        """Write the picture as it is."""
        content = file.read_bytes()
        # A PNG's header: width and height in its bytes 16 to 23.
        width, height = (int.from_bytes(content[place : place + 4], "big") for place in (16, 20))
        image = self.summary.Image(width=width, height=height, colorspace=3, encoded_image_string=content)
        self._write(step, self.summary.Value(tag=name, image=image))
        self.writer.flush()

    def end(self, finished: bool) -> None:
        """Close the file."""
        self.writer.close()

    def _write(self, step: int, *values: Any) -> None:
        self.writer.add_event(self.event(wall_time=time.time(), step=step, summary=self.summary(value=values)))
