"""Closed-form reconstruction of one layer: weights that compensate for removed inputs and coarse rounding.

All methods minimize the layer's squared output error E‖Wx - Ŵx‖² = tr((W-Ŵ) H (W-Ŵ)ᵀ), H = E[x xᵀ]. Shapes:
weights are groups × rows × columns, H is groups × columns × columns (`statistics.InputMoments.second`).

Sources: Hassibi, Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon" (1993);
Frantar, Alistarh, "Optimal Brain Compression" (2022), section 4; Kurtic, Frantar, Alistarh, "ZipLM" (2023),
equations 2 to 4; Frantar et al., "GPTQ" (2023), algorithm 1; Nagel et al., "Up or Down? Adaptive Rounding"
(2020), equation 21.

It computes where its tensors are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..options import RoundingMethod

BLOCK = 128  # columns that GPTQ rounds before the others compensate
DAMPING = 0.01  # of the mean diagonal of H, added to the diagonal
SEARCHED = 512  # columns of each row, at which steps are tried
EXTREME = 64  # of a long row's weights are always among them: a small step clips these first
COMPACT = 1024  # columns, above which those that are gone are cut while others are removed
Between = Callable[[], None]


def damped(second: Tensor, share: float = DAMPING) -> Tensor:
    """H with a share of its mean diagonal added to the diagonal: it can be inverted even if inputs never
    occur.
    """
    diagonal = second.diagonal(dim1=-2, dim2=-1)
    added = share * diagonal.mean(-1, keepdim=True) + 1e-8
    return second + torch.diag_embed(added.expand_as(diagonal))


def output_error(change: Tensor, second: Tensor) -> float:
    """tr(ΔW H ΔWᵀ), summed over groups."""
    return float(torch.einsum("gri,gij,grj->", change, second, change))


def compensated(weight: Tensor, second: Tensor, columns: Tensor) -> Tensor:
    """The least-squares weight on the given columns K (indices) alone: W H[:, K] (H[K, K])⁻¹, groups × rows ×
    K.
    """
    hessian = damped(second)
    factor = torch.linalg.cholesky(hessian[:, columns][:, :, columns])
    return torch.cholesky_solve((weight @ hessian[:, :, columns]).mT, factor).mT


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReader:
    """A layer that reads the channels of a group.

    `weight` is rows × columns, `second` 1 × columns × columns, or blocks × size × size of a wide layer
    (wide.py), `columns` units × m: the columns of each unit.
    """

    weight: Tensor
    second: Tensor
    columns: Tensor

    def on(self, device: torch.device) -> "GroupReader":
        """The same on a device."""
        weight, second, columns = (x.to(device) for x in (self.weight, self.second, self.columns))
        return GroupReader(weight=weight, second=second, columns=columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Units in the order of their removal; `errors[n]` is the relative output error without the first n."""

    order: tuple[int, ...]
    errors: tuple[float, ...]


def removal_order(
    readers: Sequence[GroupReader], count: int, *, steps: int = 128, between: Between = lambda: None
) -> Removal:
    """Greedy structured OBS: each step removes the units that add the least error to the compensated readers.

    Cost of a unit with columns S: tr(W_S ([H⁻¹]_SS)⁻¹ W_Sᵀ). Its removal sets W -= W_S ([H⁻¹]_SS)⁻¹ [H⁻¹]_S:
    and downdates H⁻¹. Errors are relative to each reader's output energy and summed, so that layers of any
    scale count alike. With more units than `steps`, one step removes several. `between` is called in front of
    each step, and may raise.
    """
    states: list[_State | _WideState] = []
    for reader in readers:
        between()
        states.append(_WideState(reader) if len(reader.second) > 1 else _State(reader))
    alive, total = torch.arange(count, device=readers[0].weight.device), 0.0
    order: list[int] = []
    errors = [0.0]
    while len(alive):
        between()
        costs = torch.stack([state.costs(alive) for state in states]).sum(0)
        chosen = costs.topk(min(len(alive), max(1, count // steps)), largest=False)
        units = alive[chosen.indices]
        for unit, cost in zip(units.tolist(), chosen.values.tolist(), strict=True):
            total += max(0.0, cost)
            order.append(unit)
            errors.append(total)
        left = torch.ones_like(alive, dtype=torch.bool)
        left[chosen.indices] = False
        alive = alive[left]
        if len(alive):
            for state in states:
                state.remove(units)
    return Removal(order=tuple(order), errors=tuple(errors))


class _State:
    """A reader while the columns of one unit after the other are removed.

    `columns` are the places of each unit's columns in what is left of the weight and of H⁻¹, from which gone
    columns are cut now and then.
    """

    def __init__(self, reader: GroupReader):
        hessian = damped(reader.second[0].double())
        self.weight = reader.weight.double().clone()
        self.inverse = torch.linalg.inv(hessian)
        self.columns = reader.columns
        self.energy = float(torch.einsum("ri,ij,rj->", self.weight, hessian, self.weight)) or 1.0
        self.gone = torch.zeros(len(hessian), dtype=torch.bool, device=hessian.device)

    def costs(self, units: Tensor) -> Tensor:
        """The relative error that the removal of each of these units would add."""
        columns = self.columns[units]
        if columns.shape[1] == 1:
            at = columns[:, 0]
            alone: Tensor = self.weight[:, at].square().sum(0) / self.inverse.diagonal()[at] / self.energy
            return alone
        blocks = self.inverse[columns[:, :, None], columns[:, None, :]]
        return _removal_costs(self.weight[:, columns], blocks) / self.energy

    def remove(self, units: Tensor) -> None:
        """Compensates for the units' columns and removes them from H⁻¹."""
        at = self.columns[units].flatten()
        rows = self.inverse[at].clone()
        factor = torch.linalg.solve(rows[:, at], rows)
        self.weight -= self.weight[:, at] @ factor
        self.inverse.addmm_(rows.mT, factor, alpha=-1)
        self.gone[at] = True
        self.weight[:, at] = 0
        if len(self.gone) > COMPACT and int(self.gone.sum()) > len(self.gone) // 4:
            self._compact()

    def _compact(self) -> None:
        """Cuts what is gone: a step takes time with the square of the columns. Only units that are left are
        asked for.
        """
        left = ~self.gone
        self.inverse = self.inverse[left][:, left]
        self.weight = self.weight[:, left]
        self.columns = (left.cumsum(0) - 1).clamp_min(0)[self.columns]
        self.gone = self.gone[left]


class _WideState:
    """A wide reader: a state for each block of columns, between which nothing compensates.

    A unit's columns are in one block, since a block has whole channels.
    """

    def __init__(self, reader: GroupReader):
        size = reader.second.shape[-1]
        self.block = reader.columns[:, 0] // size
        self.states = [
            _State(
                GroupReader(
                    weight=reader.weight[:, number * size : (number + 1) * size],
                    second=second[None],
                    columns=reader.columns % size,
                )
            )
            for number, second in enumerate(reader.second)
        ]
        energy = sum(state.energy for state in self.states)
        for state in self.states:
            state.energy = energy

    def costs(self, units: Tensor) -> Tensor:
        """The relative error that the removal of each of these units would add."""
        costs = torch.zeros_like(units, dtype=torch.float64)
        for number, state in enumerate(self.states):
            here = self.block[units] == number
            if here.any():
                costs[here] = state.costs(units[here])
        return costs

    def remove(self, units: Tensor) -> None:
        """See _State."""
        for number, state in enumerate(self.states):
            here = units[self.block[units] == number]
            if len(here):
                state.remove(here)


def _removal_costs(weights: Tensor, inverse: Tensor) -> Tensor:
    """tr(W_S ([H⁻¹]_SS)⁻¹ W_Sᵀ) of each unit: `weights` rows × units × m, `inverse` units × m × m."""
    columns = weights.movedim(1, 0).mT
    solved: Tensor = torch.linalg.solve(inverse, columns)
    return (columns * solved).sum((1, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """How a layer was rounded: the step of each output channel, and the weight before, in its own shape."""

    step: Tensor
    weight: Tensor

    def on(self, device: torch.device) -> "Rounding":
        """The same on a device."""
        return Rounding(step=self.step.to(device), weight=self.weight.to(device))


def grid_limits(bits: int) -> tuple[int, int]:
    """Smallest and largest integer of a weight."""
    return (-127, 127) if bits == 8 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def optimal_scale(weight: Tensor, importance: Tensor, bits: int, *, candidates: int = 80) -> Tensor:
    """The step size per row, groups × rows, for which rounding to nearest has the least Σ importance · (w -
    ŵ)².

    `importance` is groups × columns, the diagonal of H. The steps that are tried go from the largest
    magnitude down to a fifth of it. Where there are more than SEARCHED columns the error is estimated: the
    largest EXTREME weights of each row count as they are, and SEARCHED columns from all over stand for the
    rest.
    """
    low, high = grid_limits(bits)
    largest = torch.maximum(weight.amax(-1) / high, weight.amin(-1) / low).clamp_min(1e-12)
    importance = importance.unsqueeze(1)
    if weight.shape[-1] > SEARCHED:
        weight, importance = _part_of_columns(weight, importance)
    best, scale = torch.full_like(largest, torch.inf), largest.clone()
    for shrink in torch.linspace(1.1 if bits < 4 else 1.0, 0.2, candidates).tolist():
        step = (largest * shrink).unsqueeze(-1)
        rounded = (weight / step).round().clamp(low, high) * step
        error = ((rounded - weight).square() * importance).sum(-1)
        better = error < best
        best, scale = torch.where(better, error, best), torch.where(better, step.squeeze(-1), scale)
    return scale


def _part_of_columns(weight: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """The extreme weights of each row and a sample of the others, groups × rows × (EXTREME + SEARCHED), with
    importances that make up for those left out.
    """
    columns = weight.shape[-1]
    extreme = weight.abs().topk(EXTREME, dim=-1)
    some = torch.linspace(0, columns - 1, SEARCHED).long().to(weight.device)  # no multiple of taps apart
    others = weight[..., some].abs() < extreme.values[..., -1:]
    share = (columns - EXTREME) / others.sum(-1, keepdim=True).clamp_min(1)
    weights = importance.expand_as(weight)
    parts = (weight.gather(-1, extreme.indices), weight[..., some])
    importances = (weights.gather(-1, extreme.indices), weights[..., some] * others * share)
    return torch.cat(parts, dim=-1), torch.cat(importances, dim=-1)


def round_compensating(weight: Tensor, second: Tensor, scale: Tensor, bits: int) -> Tensor:
    """GPTQ: integers (as floats) groups × rows × columns; later columns compensate for each one's rounding
    error.

    Columns go in order of falling diag(H): the most used inputs are rounded first, while most others can
    still compensate. Those behind a block of columns compensate for all its errors at once.
    """
    low, high = grid_limits(bits)
    order = second.diagonal(dim1=-2, dim2=-1).argsort(-1, descending=True)
    hessian = torch.stack([h[o][:, o] for h, o in zip(damped(second.double()), order, strict=True)])
    factor = _inverse_factor(hessian).float()
    diagonal = factor.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    ordered = torch.stack([w.T[o] for w, o in zip(weight, order, strict=True)])  # a column lies together
    integers, errors = torch.empty_like(ordered), torch.empty_like(ordered)
    for start in range(0, ordered.shape[1], BLOCK):
        end = min(start + BLOCK, ordered.shape[1])
        for column in range(start, end):
            value, rounded = ordered[:, column], integers[:, column]
            torch.div(value, scale, out=rounded).round_().clamp_(low, high)
            errors[:, column] = (value - rounded * scale) / diagonal[:, column]
            within = factor[:, column, column + 1 : end, None]
            ordered[:, column + 1 : end].baddbmm_(within, errors[:, column, None], alpha=-1)
        ordered[:, end:].baddbmm_(factor[:, start:end, end:].mT, errors[:, start:end], alpha=-1)
    back = order.argsort(-1)
    return torch.stack([q[o].T for q, o in zip(integers, back, strict=True)]).contiguous()


def _inverse_factor(hessian: Tensor) -> Tensor:
    """The upper triangular U with UᵀU = H⁻¹: the inverse of the factor of H with its rows and columns in
    reverse, which takes a fraction of the time of inverting H.
    """
    return _inverse_of_upper(torch.linalg.cholesky(hessian.flip(-1, -2)).flip(-1, -2))


def _inverse_of_upper(upper: Tensor) -> Tensor:
    """The inverse of upper triangular matrices, by halves: most of it are products, a third of those of
    solving for each column.
    """
    size = upper.shape[-1]
    if size <= BLOCK:
        eye = torch.eye(size, dtype=upper.dtype, device=upper.device).expand_as(upper)
        solved: Tensor = torch.linalg.solve_triangular(upper, eye, upper=True)
        return solved
    half = size // 2
    first, last = _inverse_of_upper(upper[..., :half, :half]), _inverse_of_upper(upper[..., half:, half:])
    inverse = torch.zeros_like(upper)
    inverse[..., :half, :half], inverse[..., half:, half:] = first, last
    inverse[..., :half, half:] = -(first @ upper[..., :half, half:] @ last)
    return inverse


def round_adaptively(
    weight: Tensor, second: Tensor, scale: Tensor, bits: int, *, steps: int = 600, learning_rate: float = 1e-2
) -> Tensor:
    """AdaRound: integers (as floats). Learns for each weight whether to round up or down, against tr(ΔW H
    ΔWᵀ).

    Rectified sigmoid h(v) in 0..1 with the regularizer 1 - |2h - 1|^β, β from 20 to 2. Slower than GPTQ,
    often better at 4 bits.
    """
    low, high = grid_limits(bits)
    hessian, step = damped(second, 1e-3), scale.unsqueeze(-1)
    floor = (weight / step).floor()
    fraction = (weight / step - floor).clamp(1e-3, 1 - 1e-3)
    logits = torch.logit((fraction + 0.1) / 1.2).requires_grad_(True)
    energy = torch.einsum("gri,gij,grj->", weight, hessian, weight).clamp_min(1e-12)
    optimizer = torch.optim.Adam([logits], lr=learning_rate)
    for index in range(steps):
        up = (torch.sigmoid(logits) * 1.2 - 0.1).clamp(0, 1)
        change = (floor + up).clamp(low, high) * step - weight
        loss = torch.einsum("gri,gij,grj->", change, hessian, change) / energy * 1e3
        if index > steps // 5:
            beta = 2 + 18 * (1 - index / steps)
            loss = loss + 1e-2 * (1 - (2 * up - 1).abs().pow(beta)).sum() / len(weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return (floor + (logits.detach() > 0)).clamp(low, high)


ROUNDINGS: Mapping[RoundingMethod, Callable[[Tensor, Tensor, Tensor, int], Tensor]] = {
    "gptq": round_compensating,
    "adaround": round_adaptively,
}
