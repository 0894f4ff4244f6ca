"""Distillation of a language model as a task for the Trainer: any family, one loss.

What the families differ in is a `Reading`: how a network gets its states from a batch, which tokens are real,
and what the data themselves say at each place. Teacher and student read the same thing; hidden words are
hidden from both.

Legend: B rows, T tokens (of the target, where there are two texts), D width, N real tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from hortus.distillation.config import DistillationConfig
from hortus.distillation.following import Following
from hortus.distillation.losses import Projection, TopLogits, cosine_loss, keep_top, projected_loss
from hortus.distillation.masking import BatchMasking
from hortus.models.layers.memory import keep_freed_memory
from hortus.objectives.causal import next_tokens
from hortus.objectives.encoder_decoder import shifted_right

__all__ = ["Distillation", "Reading", "project", "read_batch"]

_IGNORED = -100


class Reading(NamedTuple):
    """A batch as networks of one family read it.

    states: network -> (B, T, D), its last hidden states.
    targets: (B, T) what the data say is predicted there, -100 where nothing is.
    real: (B, T) true where the soft and the cosine loss may count.
    input_ids: as read, words hidden.
    """

    states: Callable[[Any], Tensor]
    targets: Tensor
    real: Tensor
    input_ids: Tensor


def read_batch(
    network: Any,
    batch: Mapping[str, Tensor],
    masking: BatchMasking | None,
    generator: torch.Generator | None = None,
) -> Reading:
    """How networks like this one read a batch.

    An encoder hides words here, unless the batch has `targets`, which says that it was done before.
    """
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    if network.architecture == "encoder":
        assert mask is not None
        if "targets" in batch:
            targets = batch["targets"]
        else:
            assert masking is not None
            hidden_ids, chosen = masking(ids, mask, generator)
            targets, ids = ids.masked_fill(~chosen, _IGNORED), hidden_ids
        return Reading(lambda one: one.hidden(ids, mask), targets, mask != 0, ids)
    if network.architecture == "decoder":
        segments = batch.get("segment_ids")
        targets = next_tokens(ids, segments)
        return Reading(lambda one: one.hidden(ids, segment_ids=segments), targets, targets != _IGNORED, ids)
    labels, config = batch["labels"], network.config
    shifted = shifted_right(labels, config.decoder_start_token_id or 0, config.pad_token_id or 0)
    return Reading(lambda one: one.hidden(ids, shifted, mask), labels, labels != _IGNORED, ids)


def project(network: Any, states: Tensor) -> Projection:
    """States (N, D) as what its head multiplies: an encoder's go through the head's transform first."""
    head = getattr(network, "masked_head", None)
    if head is None:
        return Projection(states, network.head_weight)
    return Projection(head(states), network.head_weight, head.bias)


class Distillation(Following):
    """A task for the Trainer: the triple loss, each term the mean that the paper takes.

    The sum over a batch is N (w_soft · soft / N_soft + w_hard · hard / N_hard + w_cosine · cosine / N), its
    count is N, the number of real tokens. `N_soft` is N, or the number of hidden tokens.

    Args:
        student: the network to train.
        teacher: the network to follow, frozen.
        settings: temperature, weights, which tokens.
        masking: of encoders.

    >>> from hortus.distillation.student import make_student
    >>> from hortus.models.bloom import Bloom, BloomConfig
    >>> teacher = Bloom(BloomConfig(vocab_size=32, hidden_size=16, num_layers=2, num_heads=4))
    >>> settings = DistillationConfig(layers=1)
    >>> task = Distillation(make_student(teacher, settings), teacher, settings)
    >>> task.loss({"input_ids": torch.tensor([[5, 6, 7]])})[1].item()
    2
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        settings: DistillationConfig,
        masking: BatchMasking | None = None,
    ):
        super().__init__(student, teacher, settings)
        self._masking = masking
        keep_freed_memory()

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """The weighted sum, the number of real tokens, and the terms by themselves."""
        return self._loss(batch, None)

    def evaluate_loss(
        self, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """As `loss`, with the same words hidden each time."""
        return self._loss(batch, torch.Generator(batch["input_ids"].device).manual_seed(0))

    def _loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        weight_soft, weight_hard, weight_cosine = self._settings.weights
        reading = read_batch(self._student, batch, self._masking, generator)
        targeted = reading.targets != _IGNORED
        soft_rows = targeted if self._settings.soft_over == "hidden" else reading.real
        rows = soft_rows if weight_soft else targeted
        count, num_rows, num_hard = reading.real.sum(), rows.sum(), targeted.sum().clamp_min(1)
        states = reading.states(self._student)
        with torch.no_grad():
            stored = "top_indices" in batch
            asks = (weight_soft or weight_cosine) and not stored
            seen = reading.states(self._teacher) if asks else None
            answer = self._answer(batch, seen, rows) if weight_soft else None
        total, soft, hard = projected_loss(
            project(self._student, states[rows]),
            answer,
            reading.targets[rows],
            temperature=self._settings.temperature,
            weight_soft=weight_soft * count / num_rows.clamp_min(1),
            weight_hard=weight_hard * count / num_hard,
        )
        metrics = {"hard": (hard, num_hard)}
        if answer is not None:
            metrics["soft"] = (soft, num_rows)
        if weight_cosine and seen is not None:
            cosine = cosine_loss(states[reading.real], seen[reading.real])
            total = total + weight_cosine * cosine
            metrics["cosine"] = (cosine.detach(), count)
        return total, count, metrics

    def _answer(
        self, batch: Mapping[str, Tensor], seen: Tensor | None, rows: Tensor
    ) -> Projection | TopLogits:
        if seen is not None:
            return project(self._teacher, seen[rows])
        return TopLogits(batch["top_log_probabilities"], batch["top_indices"], batch["top_rest"])

    @torch.no_grad()
    def answer(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], TopLogits]:
        """A batch with its words hidden, and the teacher's best logits at the tokens of the soft loss."""
        reading = read_batch(self._student, batch, self._masking)
        rows = reading.real if self._settings.soft_over == "all" else reading.targets != _IGNORED
        states, weight, bias = project(self._teacher, reading.states(self._teacher)[rows])
        tops = [
            keep_top(F.linear(part, weight, bias), self._settings.store_top, self._settings.temperature)
            for part in states.split(1024)
        ]
        top = TopLogits(*(torch.cat(parts) for parts in zip(*tops, strict=True)))
        if self._student.architecture != "encoder":
            return dict(batch), top
        return {
            "input_ids": reading.input_ids,
            "attention_mask": batch["attention_mask"],
            "targets": reading.targets,
        }, top
