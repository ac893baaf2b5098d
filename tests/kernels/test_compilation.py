"""The kernels go through Triton's compiler, which takes less than its interpreter does; that needs no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

triton = pytest.importorskip("triton", minversion="3.3", reason="compiles without a device since 3.3")

TENSORS = {
    "_forward_kernel": ("tokens", "update", "learned", "tokens", "float32", "float32"),
    "_backward_kernel": (
        *("tokens", "tokens", "update", "float32", "float32"),
        *("learned", "tokens", "update", "float32"),
    ),
}
"""What each pointer of a kernel points at, in order."""


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(("tokens", "update"), [("fp32", "fp32"), ("fp32", "bf16"), ("bf16", "bf16"), ("fp16", "fp16")])
@pytest.mark.parametrize("name", TENSORS)
def test_a_kernel_compiles_for_a_gpu(
    name: str, tokens: str, update: str, learned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from aaclip_kit.kernels import triton_norm_matched

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_norm_matched, name)
    held = {"tokens": f"*{tokens}", "update": f"*{update}", "float32": "*fp32", "learned": "*fp32"}
    pointers = iter(TENSORS[name])
    signature: dict[str, str] = {}
    constants: dict[str, int | None] = {"LEARNED": learned, "ROWS": 2, "COLUMNS": 1024}
    for argument in kernel.arg_names:
        if argument.endswith("_at"):
            signature[argument] = held[next(pointers)]
        elif argument in constants:
            signature[argument] = "constexpr"
        else:
            signature[argument] = "i32" if argument in ("rows", "width") else "fp32"
    if not learned:
        signature["scale_at"], constants["scale_at"] = "constexpr", None
    compiled = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
    assert compiled.asm["cubin"]
