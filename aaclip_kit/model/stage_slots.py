"""Which stage acts after which block."""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext

from jaxtyping import Float
from torch import Tensor, nn

from ..contracts.errors import UserError
from ..contracts.options import TowerName
from ..contracts.stage import AttentionStage, Context, ContextKind
from ..distributed.random_streams import own_draws
from ..kernels.norm_matched import fused_residual
from .plugin_faults import component_of, run_stage, stage_terms

Contexts = Mapping[ContextKind, Context]
NO_CONTEXT: Contexts = {}


class StageSlots(nn.Module):
    """All stages of a run by name and block; at one site they act in the order of the experiment file.

    Parameters are named `NAME.BLOCK...`, or `NAME...` of a stage that is one for all its sites, so a checkpoint says
    where each tensor belongs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleDict()
        self._order: dict[TowerName, list[tuple[int, str, AttentionStage]]] = {"text": [], "vision": []}
        self._owners: dict[str, str] = {}
        self.fused = False
        """Whether stages join the stream by the fused kernel."""
        self._numbers = False

    def place(self, name: str, tower: TowerName, block: int, stage: AttentionStage, owner: str = "") -> None:
        """Add a stage, of plugin `owner`, after a block. Raises `UserError` for a name that torch keeps for itself."""
        if name not in self.stages:
            if hasattr(self.stages, name):
                problem = "a stage cannot have this name, which torch's modules use themselves"
                raise UserError(problem, where=f"stages.{name}", fix=f"call it {name}_stage")
            self.stages[name] = stage if stage.one_for_all_sites else nn.ModuleDict()
        group = self.stages[name]
        if isinstance(group, nn.ModuleDict):
            group[str(block)] = stage
        self._order[tower].append((block, name, stage))
        self._owners[name] = owner

    def of(self, tower: TowerName) -> Iterator[tuple[int, str, AttentionStage]]:
        """Every (block, name, stage) of a tower."""
        return iter(self._order[tower])

    def apply_after(
        self, tower: TowerName, block: int, tokens: Float[Tensor, "items L D"], contexts: Contexts
    ) -> Float[Tensor, "items _ D"]:
        """Run the stages of one site, which may insert tokens. One whose context `contexts` lacks is switched off."""
        for at, name, stage in self._order[tower]:
            if at == block and stage.context_kind in ("none", *contexts):
                tokens = self._run(name, block, stage, tokens, contexts.get(stage.context_kind))
        return tokens

    def loss_terms(self, towers: Sequence[TowerName], attending: Set[TowerName]) -> dict[str, Tensor]:
        """Loss terms of the stages of these towers, named stages.NAME.BLOCK/TERM; of those alone that act."""
        placed = {
            stage: f"stages.{name}" if stage.one_for_all_sites else f"stages.{name}.{at}"
            for tower in towers
            for at, name, stage in self._order[tower]
            if stage.context_kind == "none" or tower in attending
        }
        terms = {}
        for stage, place in placed.items():
            owner = component_of(stage, self.owner(place.split(".")[1]))
            terms.update({f"{place}/{term}": value for term, value in stage_terms(stage, f"{place} {owner}").items()})
        return terms

    def learnt_scales(self) -> dict[str, float]:
        """Parameters that are a single number, such as a gate, by their names: how strongly a stage has come to act."""
        return {name: value.item() for name, value in self.stages.named_parameters() if value.numel() == 1}

    @contextmanager
    def looking_at_numbers(self) -> Iterator[None]:
        """For a while, tokens that a stage makes NaN or infinite are its fault; not always, for it makes steps wait."""
        self._numbers = True
        try:
            yield
        finally:
            self._numbers = False

    def owner(self, name: str) -> str:
        """The plugin that a stage of this name is of."""
        return self._owners.get(name, "")

    def _run(self, name: str, block: int, stage: AttentionStage, tokens: Tensor, context: Context | None) -> Tensor:
        where = f"stages.{name} after block {block} {component_of(stage, self.owner(name))}"
        if context is not None and context.row_of is not None and not stage.reads_row_of:
            context = context.expanded(len(tokens))
        draws = own_draws("stage", name, block) if stage.training else nullcontext()
        # Around each stage, so that it holds in whichever thread recomputes one.
        with fused_residual(self.fused), draws:
            return run_stage(
                stage, tokens, context, where, self._numbers, site=block, inserts=self._inserts(name, block)
            )

    def _inserts(self, name: str, block: int) -> int:
        """Tokens that the stage of this name appends here."""
        own = [(at, stage) for order in self._order.values() for at, of, stage in order if of == name]
        first = min(at for at, _ in own)
        return next(
            (stage.inserts for at, stage in own if at == block and (at == first or not stage.one_for_all_sites)), 0
        )

    @contextmanager
    def standing_in(self, tower: TowerName, others: Mapping[tuple[str, int], AttentionStage | None]) -> Iterator[None]:
        """For a while, other stages in some places (name, block) of a tower; None leaves a place empty.

        What is registered, and so saved and moved, stays as it is.
        """
        kept = self._order[tower]
        placed = [(block, name, others.get((name, block), stage)) for block, name, stage in kept]
        self._order[tower] = [(block, name, stage) for block, name, stage in placed if stage is not None]
        try:
            yield
        finally:
            self._order[tower] = kept

    def first_conditioned(self, tower: TowerName, contexts: Contexts) -> int | None:
        """First block after which a stage that one of `contexts` switches on acts."""
        return min((at for at, _, stage in self._order[tower] if stage.context_kind in contexts), default=None)
