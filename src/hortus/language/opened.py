"""A network, its tokenizer and its settings, opened from a folder and written back.

What `LanguageModel` adds to this is what can be asked of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch

from hortus.artifact import ModelCard, read_config, read_json, write_json
from hortus.config import load_yaml
from hortus.device import choose_device, choose_dtype
from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.language.config import GenerationConfig
from hortus.models import load_network, save_network
from hortus.models.decoder import pack_network
from hortus.tokenizer import Tokenizer

__all__ = ["OpenedModel"]

_LONGEST = 2048  # where nothing is stored: the length that every published BLOOM was trained with
_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "seq_length")
_UNLIMITED = 10**9  # transformers stores 1e30 for "not known"


class OpenedModel:
    """See `hortus.language.LanguageModel`."""

    def __init__(
        self,
        network: Any,
        tokenizer: Tokenizer,
        generation_config: GenerationConfig | None = None,
        card: ModelCard | None = None,
        *,
        max_length: int | None = None,
        recipe: dict[str, Any] | None = None,
    ):
        if tokenizer.vocab_size > network.config.vocab_size:
            raise ArtifactError(
                f"the tokenizer has {tokenizer.vocab_size} ids",
                allowed=f"at most {network.config.vocab_size}, the rows of the network's embedding",
                do="use the tokenizer that the network was trained with",
            )
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.generation_config = generation_config or GenerationConfig()
        self.card = card or ModelCard(name=self.kind, kind=self.kind)
        limit = getattr(network.config, "max_positions", None)
        self.max_length = max_length or _stored_length(tokenizer.settings) or limit or _LONGEST
        if limit is not None:
            self.max_length = min(self.max_length, limit)
        self.recipe = recipe

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "auto",
        dtype: str = "auto",
        max_length: int | None = None,
        weights: str | None = None,
    ) -> Self:
        """Open an artifact folder; `hortus.load` does it for hub ids too.

        Args:
            device: auto, cpu, cuda, cuda:N or mps.
            dtype: auto, float32, bfloat16 or float16. "auto" keeps float32 weights as they are and takes
                stored half-precision ones to the format that the device multiplies in.
            max_length: the most tokens of a text; None takes what the folder says, else 2048.
            weights: "int8" or "bfloat16" keeps a decoder's weights in fewer bits than the arithmetic, for
                speed (CPU); such a model cannot be saved. `hortus.language.packing` measures what it costs.

        Raises:
            ConfigError: weights that cannot be packed so.
            ArtifactError: a file is missing or corrupt, or the parts do not fit together.
        """
        folder = Path(folder)
        place = choose_device(device)
        network = load_network(folder)
        stored = next(network.parameters()).dtype
        wanted = stored if dtype == "auto" and stored == torch.float32 else choose_dtype(dtype, place)
        network = network.to(device=place, dtype=wanted)
        if weights is not None:
            pack_network(network, weights)
        recipe = folder / "recipe.yaml"
        tokenizer = Tokenizer.load(folder)
        template = folder / "chat_template.jinja"
        if template.is_file():
            tokenizer.settings.setdefault("chat_template", template.read_text(encoding="utf-8"))
        return cls(
            network,
            tokenizer,
            GenerationConfig.read(folder),
            ModelCard.read(folder),
            max_length=max_length or _stored_length(read_config(folder)),
            recipe=load_yaml(recipe) if recipe.is_file() else None,
        )

    def save(self, folder: str | Path) -> None:
        """Write an artifact folder that hortus and transformers open, whole or not at all."""
        save_network(self.network, folder, self.card, recipe=self.recipe, extra=self._write_rest)

    def _write_rest(self, folder: Path) -> None:
        self.tokenizer.save(folder)
        settings = folder / "tokenizer_config.json"
        stored = read_json(settings) | {"model_max_length": self.max_length}
        if getattr(self.network.config, "num_token_types", 0) > 1:
            # Without this transformers' general tokenizer gives both texts of a pair the type 0.
            stored["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
        write_json(settings, stored)
        if self.network.architecture == "encoder":
            return
        ids = self.tokenizer
        start = getattr(self.network.config, "decoder_start_token_id", None)
        known = {"bos_token_id": ids.bos_id, "eos_token_id": ids.eos_id, "pad_token_id": ids.pad_id}
        self.generation_config.write(folder, **known, decoder_start_token_id=start)

    @property
    def kind(self) -> str:
        """The model_type of the network's family."""
        return str(self.network.model_type)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def separator_id(self) -> int:
        """The token between documents in training, which stands before a text's first token."""
        for index in (self.tokenizer.eos_id, self.tokenizer.bos_id, self.network.config.eos_token_id):
            if index is not None:
                return index
        raise ArtifactError(
            "neither tokenizer nor config names an end-of-text token",
            do="add eos_token to tokenizer_config.json",
        )

    def _require(self, method: str, *architectures: str, head: str | None = None) -> None:
        """Refuse a method that this kind of network cannot do.

        Raises:
            ConfigError: says which kinds can.
        """
        if self.network.architecture not in architectures:
            raise ConfigError(
                f"a {self.kind} cannot {method}", allowed=f"{' and '.join(architectures)} models"
            )
        if head is not None and self.network.config.head != head:
            raise ConfigError(
                f"this {self.kind} has the head {self.network.config.head!r}",
                allowed=f"{head!r} to {method}",
                do="finetune it with hortus finetune, or open a model that was",
            )

    @property
    def _pad_id(self) -> int:
        # Padding is never attended to, so any id does.
        return 0 if self.tokenizer.pad_id is None else self.tokenizer.pad_id

    def _cut(self, row: list[int], most: int, truncate: bool) -> list[int]:
        """`most` tokens of a row; more are an error unless `truncate`.

        What is to be continued keeps its end, what is to be understood keeps its beginning.
        """
        if len(row) > most and not truncate:
            raise DataError(
                f"a text has {len(row)} tokens",
                allowed=f"{most} or fewer (max_length={self.max_length})",
                do="shorten it, or pass truncate=True to cut it",
            )
        return row[-most:] if self.network.architecture == "decoder" else row[:most]


def _stored_length(settings: dict[str, Any]) -> int | None:
    """The longest text that a config.json or tokenizer_config.json allows, if it says."""
    for key in (*_LENGTH_KEYS, "model_max_length"):
        value = settings.get(key)
        if isinstance(value, int | float) and 0 < value < _UNLIMITED:
            return int(value)
    return None
