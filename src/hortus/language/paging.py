"""What a server needs of a model to write many texts together: rows over cache blocks."""

from __future__ import annotations

from hortus.errors import ConfigError
from hortus.language.model import LanguageModel
from hortus.models.decoder.paged import MOST_ROWS, PagedDecoder, PagedRow

__all__ = ["MOST_ROWS", "PagedDecoder", "PagedRow", "open_paged", "position_bytes", "writes_together"]


def writes_together(model: LanguageModel) -> bool:
    """Whether the model's network continues text and can do so for rows of many texts."""
    return str(model.network.architecture) == "decoder"


def position_bytes(model: LanguageModel) -> int:
    """Bytes of keys and values of one position."""
    shape, weight = model.network.config, next(model.network.parameters())
    return 2 * shape.num_layers * shape.hidden_size * weight.element_size()


def open_paged(model: LanguageModel, num_blocks: int, block_size: int) -> PagedDecoder:
    """A decoder over `num_blocks` cache blocks of `block_size` positions.

    Raises:
        ConfigError: the model is no decoder.
    """
    if not writes_together(model):
        raise ConfigError(f"a {model.kind} cannot be served as a writer", allowed="decoder models (bloom)")
    return PagedDecoder(model.network, num_blocks, block_size)
