"""EMR-Merging (arXiv 2405.17461): elect a unified vector, mask and rescale it per task.

The merged model needs the task id. The formula sees no data. An entry
whose sum is exactly 0 elects the negative sign, as in the authors'
code.

The paper and the authors' code rescale differently. Three rules are
offered:
- paper: the ratio of sums over all entries. The authors' script for 30
  ViTs does this.
- code: the ratio of sums of per-tensor means, so that a LayerNorm
  weighs as much as a matrix. The authors' scripts for 8 ViT tasks,
  RoBERTa, GPT-2 and BEiT3 do this.
- least_squares: the factor that minimises the distance to the task
  vector, which the paper's argument describes but its formula is not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tadrop.numerics.ops import rows, total
from tadrop.types import Masked, MatrixLayout, TadropError, Tau, Taus
from tadrop.vectors.arriving import Arriving, State, check_offered
from tadrop.vectors.merged import pack, unpack

RULES = ("paper", "code", "least_squares")


def merge(taus: Taus) -> Masked:
    """The unified vector and the masks of the entries that agree with its sign.

    The unified vector is the elected sign times the largest agreeing
    magnitude.
    """
    sign = torch.where(total(taus)[0] > 0, 1.0, -1.0)
    agree = taus * sign > 0
    magnitude = torch.where(agree, taus.abs(), 0).amax(0)
    return Masked(sign * magnitude, agree)


def tally(taus: Taus, merged: Masked) -> Tensor:
    """Four sums per task, [4, T] float64.

    They are sum |tau|, sum |M tau_uni|, sum |tau| |M tau_uni| and sum
    |M tau_uni|^2.
    """
    tau = rows(taus.abs())
    masked = rows(torch.where(merged.masks, merged.shared.abs(), 0))
    products = (tau, masked, tau * masked, masked.square())
    return torch.stack([entries.sum(1, dtype=torch.float64) for entries in products])


def rescale(sums: Tensor, sizes: Tensor, rule: str = "paper") -> Tensor:
    """The factor of each task, from tallies [tensor, 4, T] and sizes [tensor].

    rule: paper, code or least_squares
    The factor is 1 where nothing is left of a task.
    """
    if rule not in RULES:
        raise TadropError(f"rule is {rule!r}; it must be paper, code or least_squares")
    if rule == "code":
        # A tensor without entries has no mean; its sums are 0 and add nothing.
        counts = sizes.clamp(min=1).to(sums)
        sums = sums / counts[:, None, None]
    tau, masked, product, square = sums.sum(0)
    above, below = tau, masked
    if rule == "least_squares":
        above, below = product, square
    return torch.where(below > 0, above / below, 1.0).float()


def fused(taus: Taus) -> tuple[Masked, Tensor]:
    """merge() and tally() compiled."""
    from tadrop.numerics.kernels import formulas as kernels

    tasks = len(taus)
    unified = torch.empty_like(taus[0])
    masks = torch.empty(taus.shape, dtype=torch.bool)
    sums = torch.zeros(4, tasks, dtype=torch.float64)
    kernels.emr(
        taus.view(tasks, -1).numpy(),
        unified.view(-1).numpy(),
        masks.view(tasks, -1).numpy(),
        sums.numpy(),
    )
    return Masked(unified, masks), sums


@dataclass(frozen=True)
class Running(Arriving):
    """The merge of what has arrived.

    Of each entry a sum and the largest magnitude of either sign are
    kept, which is the same however many tasks there are; and of each
    task two bits an entry, which of the signs it has, and its l1 norm.

    rule: paper or code; least_squares needs the task vectors again
    """

    rule: str = "paper"

    def arrive(self, state: State, tau: Tau, layout: MatrixLayout) -> State:
        """See Arriving. Raises TadropError for another rule."""
        check_offered("rule", self.rule, ("paper", "code"))
        own = {
            "up": pack((tau > 0)[None]),
            "down": pack((tau < 0)[None]),
            "l1": tau.abs().sum(dtype=torch.float64)[None],
        }
        highest, lowest = tau.clamp(min=0), tau.clamp(max=0)
        if not state:
            return {"sum": tau, "highest": highest, "lowest": lowest, **own}
        for name, added in own.items():
            own[name] = torch.cat([state[name], added])
        return {
            "sum": state["sum"] + tau,
            "highest": torch.maximum(state["highest"], highest),
            "lowest": torch.minimum(state["lowest"], lowest),
            **own,
        }

    def merged(self, state: State, survey: object) -> Masked:
        """See Arriving."""
        is_up = state["sum"] > 0
        unified = torch.where(is_up, state["highest"], state["lowest"])
        ups = unpack(state["up"], unified.shape).to(is_up.device)
        downs = unpack(state["down"], unified.shape).to(is_up.device)
        return Masked(unified, torch.where(is_up, ups, downs))

    def tally(self, state: State, merged: Masked) -> Tensor:
        """See the function of this name; the products, which only least_squares
        reads, are 0.
        """
        masked = rows(torch.where(merged.masks, merged.shared.abs(), 0))
        sums = masked.sum(1, dtype=torch.float64)
        squares = masked.square().sum(1, dtype=torch.float64)
        norms = state["l1"].to(sums.device)
        return torch.stack([norms, sums, torch.zeros_like(sums), squares])
