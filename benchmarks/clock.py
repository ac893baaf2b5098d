"""Time and memory of what runs on a device: waits until the device is done, and reads the peak that fits it."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

SHAPES = ((2048, 2048, 2048), (1370, 1024, 4096))
"""Matrix products on a CPU (rows, inner, columns): a large square, and the first inner layer of an image at 518 px."""

CUDA_SHAPES = ((8192, 8192, 8192), (16 * 1370, 1024, 4096))
"""The same on a GPU, with a batch of 16 images."""


@dataclass(frozen=True)
class Clock:
    """Measures on one device."""

    device: torch.device

    def now(self) -> float:
        """Seconds, when everything asked of the device so far is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def seconds(self, work: Callable[[], object]) -> float:
        """Time of one call."""
        start = self.now()
        work()
        return self.now() - start

    def peak_memory(self) -> int:
        """Largest memory so far in bytes: resident memory of this process, or what is allocated on the GPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        # The kernel's figure of this very program; ru_maxrss may be inherited from the process that started it.
        status = Path("/proc/self/status")
        for line in status.read_text().splitlines() if status.exists() else ():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def matmul_peak(self, dtype: torch.dtype, tries: int = 5) -> float:
        """Operations a second of the faster of two matrix products, each at its best of some tries."""
        shapes = CUDA_SHAPES if self.device.type == "cuda" else SHAPES
        return max(self._rate(shape, dtype, tries) for shape in shapes)

    def _rate(self, shape: tuple[int, int, int], dtype: torch.dtype, tries: int) -> float:
        rows, inner, columns = shape
        left = torch.randn(rows, inner, device=self.device, dtype=dtype)
        right = torch.randn(inner, columns, device=self.device, dtype=dtype)
        self.seconds(lambda: left @ right)
        best = min(self.seconds(lambda: left @ right) for _ in range(tries))
        return 2 * rows * inner * columns / best
