"""The residual adapter: a stage without a context."""

from pydantic import Field

from aaclip_kit import Register, StageOptions, hookimpl


class ResidualAdapterOptions(StageOptions):
    """Residual adapter: a linear layer and LeakyReLU, norm-matched and mixed into the stream."""

    weight: float = Field(0.1, ge=0, le=1, description="share of the adapter's output in the token; the rest is kept")


@hookimpl
def register_attention_stages(register: Register) -> None:
    """Offer `residual_adapter`."""
    register("residual_adapter", f"{__name__}.residual:ResidualAdapter", ResidualAdapterOptions)
