"""Prompted finetuning as a task for the Trainer: loss on targets only (T0 section 5, BLOOMZ section 3).

Legend: B rows, T tokens, D width, N target tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hortus.models.layers.cross_entropy import linear_cross_entropy
from hortus.models.layers.memory import keep_freed_memory
from hortus.objectives.prompted_packing import IGNORED, Layout, Truncation, pack, tokenize
from hortus.prompts import Mixture, PromptedExample
from hortus.tokenizer import Tokenizer
from hortus.training import Batch, TensorData, decay_groups
from hortus.training.task import Metrics

__all__ = ["PackedMixture", "PromptedFinetuning", "packed_examples"]

WINDOW = 512  # examples that are packed together


class PromptedFinetuning:
    """A task for the Trainer, over batches of `pack`.

    Only the states that predict a target token are projected on the vocabulary. Validation also measures
    `exact`, the share of examples whose target is the greedy answer in every token.

    Args:
        network: a decoder with `.hidden(input_ids, segment_ids=)`, or an encoder-decoder with
            `.hidden(input_ids, decoder_input_ids, source_segments=, segment_ids=)`; both with `.head_weight`.

    >>> from hortus.models.bloom import Bloom, BloomConfig
    >>> from hortus.objectives.prompted_packing import TokenizedExample
    >>> layout = Layout(encoder_decoder=False, sequence_length=8, input_length=4, target_length=4,
    ...                 by_example=False, end_id=1)
    >>> batch = pack([TokenizedExample([5, 6], [7, 1])], layout)
    >>> network = Bloom(BloomConfig(vocab_size=32, hidden_size=16, num_layers=2, num_heads=4))
    >>> loss, count, _ = PromptedFinetuning(network).loss(batch)
    >>> count.item()
    2
    """

    def __init__(self, network: Any, *, chunk: int | None = None):
        self.network: nn.Module = network
        self._language, self._chunk = network, chunk
        keep_freed_memory()

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Metrics]:
        """Summed loss in nats, and how many target tokens (or examples, where those weigh alike)."""
        return *self._summed(*self._targets(batch)), {}

    @torch.no_grad()
    def evaluate_loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Metrics]:
        """As `loss`, with the number of examples answered exactly."""
        hidden, labels, weights = self._targets(batch)
        right = torch.cat([self._language.head(part).argmax(-1) for part in hidden.split(256)]) == labels
        rows, segments = (batch["labels"] != IGNORED).nonzero()[:, 0], batch["segment_ids"]
        owners = rows * (segments.max() + 1) + segments[batch["labels"] != IGNORED]
        _, example = owners.unique(return_inverse=True)
        wrong = example.bincount(weights=(~right).float())
        exact = (wrong == 0).sum(), wrong.numel()
        return *self._summed(hidden, labels, weights), {"exact": exact}

    def _summed(self, hidden: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        loss, _ = linear_cross_entropy(
            hidden, self._language.head_weight, labels, row_weights=weights, chunk=self._chunk
        )
        return loss, weights.sum().round().long()

    def _targets(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) states, (N,) labels and (N,) weights of the target tokens."""
        if "decoder_input_ids" in batch:
            hidden = self._language.hidden(
                batch["input_ids"],
                batch["decoder_input_ids"],
                source_segments=batch["source_segments"],
                segment_ids=batch["segment_ids"],
            )
        else:
            hidden = self._language.hidden(batch["input_ids"], segment_ids=batch["segment_ids"])
        asked = batch["labels"] != IGNORED
        return hidden[asked], batch["labels"][asked], batch["weights"][asked]

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Decay for matrices; none for biases and normalisations."""
        return decay_groups(self.network, weight_decay)


class PackedMixture:
    """A mixture as the Trainer's data: endless packed rows, exactly resumable.

    Windows of 512 examples are packed together; their rows come in an order of their own. `truncation` counts
    what was cut up to the end of the window in use.

    Args:
        mixture: the examples.
        seed: of the order of rows.
    """

    length: int | None = None  # no end

    def __init__(self, mixture: Mixture, tokenizer: Tokenizer, layout: Layout, *, seed: int = 0):
        self._mixture, self._tokenizer, self._layout, self._seed = mixture, tokenizer, layout, seed
        self.batch_size = 1
        self._start = mixture.state_dict()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of the stream, which has no epochs."""
        self._mixture.load_state_dict(self._start)
        self.truncation = Truncation()
        self._window, self._used = 0, 0
        self._open()

    def _open(self) -> None:
        """Pack the next window; what it takes to pack it again is kept first."""
        self._before = self._mixture.state_dict(), vars(self.truncation).copy()
        examples = self._mixture.take(WINDOW)
        packed = pack(tokenize(examples, self._tokenizer, self._layout, self.truncation), self._layout)
        order = np.random.default_rng([self._seed, self._window]).permutation(len(packed["labels"]))
        self._rows = {name: tensor[torch.from_numpy(order)] for name, tensor in packed.items()}

    def __iter__(self) -> Iterator[Batch]:
        while True:
            parts: list[Batch] = []
            missing = self.batch_size
            while missing:
                if self._used == len(self._rows["labels"]):
                    self._window, self._used = self._window + 1, 0
                    self._open()
                taken = {n: rows[self._used : self._used + missing] for n, rows in self._rows.items()}
                self._used += len(taken["labels"])
                missing -= len(taken["labels"])
                parts.append(taken)
            yield {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch, as JSON values."""
        mixture, truncation = self._before
        return {"mixture": mixture, "truncation": truncation, "window": self._window, "used": self._used}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position.

        Raises:
            ConfigError: it is another mixture's.
        """
        self._mixture.load_state_dict(state["mixture"])
        self.truncation = Truncation(**state["truncation"])
        self._window = int(state["window"])
        self._open()
        self._used = int(state["used"])


def packed_examples(
    examples: list[PromptedExample], tokenizer: Tokenizer, layout: Layout, counts: Truncation
) -> TensorData:
    """Validation data: these examples, packed once, always in the same order."""
    return TensorData(pack(tokenize(examples, tokenizer, layout, counts), layout), shuffle=False)
