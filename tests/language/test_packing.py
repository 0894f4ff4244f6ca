"""What packing costs is measured on the model's own text or a given one."""

import numpy as np
import pytest
import torch

from hortus.errors import DataError
from hortus.language.packing import pack


def test_loss_equals_the_formula(make_model) -> None:
    model, texts = make_model(), ["The quick brown fox", "def f(x): return x"]
    rows = [[model.separator_id, *ids] for ids in model.tokenizer.encode_batch(texts)]

    def table(row: list[int]) -> np.ndarray:
        with torch.inference_mode():
            logits = model.network(torch.tensor([row[:-1]]))[0].double().numpy()
        return (
            logits
            - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
            - (logits.max(1, keepdims=True))
        )

    full = [table(row) for row in rows]
    before = model.generate(texts, max_new_tokens=5)
    loss = pack(model, "int8", texts)
    packed = [table(row) for row in rows]
    divergences = [(np.exp(f) * (f - p)).sum() for f, p in zip(full, packed, strict=True)]
    tokens = sum(len(row) - 1 for row in rows)
    size = sum(len(text.encode()) for text in texts)
    assert loss.num_tokens == tokens
    assert loss.divergence == pytest.approx(sum(divergences) / tokens, rel=1e-3, abs=1e-6)
    for tables, bits in ((full, loss.bits_per_byte), (packed, loss.packed_bits_per_byte)):
        nats = -sum(t[np.arange(len(r) - 1), r[1:]].sum() for t, r in zip(tables, rows, strict=True))
        assert bits == pytest.approx(nats / np.log(2) / size, rel=1e-4)
    assert 0 < loss.divergence < 0.05 and "nats a token" in str(loss)
    assert len(before) == len(model.generate(texts, max_new_tokens=5))


def test_without_texts_the_model_writes_them(make_model) -> None:
    assert pack(make_model(), "bfloat16").num_tokens > 50
    with pytest.raises(DataError, match="no text"):
        pack(make_model(), "int8", [""])
