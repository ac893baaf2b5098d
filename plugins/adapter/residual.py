"""AA-CLIP's residual adapter (method: section 3)."""

from jaxtyping import Float
from torch import Tensor, nn

from aaclip_kit import AttentionStage, Context, StageSetting, norm_matched_residual

from . import ResidualAdapterOptions

# The method divides by the bare norm. This leaves every float32 norm above 1e-5 as it is, bit for bit, and lets an
# all-zero output (and its gradient) be zero instead of NaN.
_TINY = 1e-12


class ResidualAdapter(AttentionStage):
    """`(1 - w) x + w A(x) |x| / |A(x)|` for each token; A is one bias-free linear layer, then LeakyReLU.

    Source: AA-CLIP (CVPR 2025), section 3.
    """

    context_kind = "none"

    def __init__(self, options: ResidualAdapterOptions, setting: StageSetting) -> None:
        super().__init__()
        self.weight = options.weight
        self.linear = nn.Linear(setting.width, setting.width, bias=False)
        nn.init.xavier_uniform_(self.linear.weight)
        self.activation = nn.LeakyReLU(0.01)

    def forward(self, tokens: Float[Tensor, "items L D"], context: Context | None) -> Float[Tensor, "items L D"]:
        """Return the mixed tokens. Raises ValueError if it is given a context."""
        if context is not None:
            raise ValueError("an adapter takes no context")
        update = self.activation(self.linear(tokens))
        return norm_matched_residual(tokens, update, scale=self.weight, keep=1 - self.weight, eps=_TINY)
