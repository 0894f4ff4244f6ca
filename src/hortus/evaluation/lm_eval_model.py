"""A hortus model that lm-evaluation-harness drives.

    python -m hortus.evaluation.lm_eval_model --model hortus --model_args pretrained=FOLDER --tasks piqa

runs the harness's own command line with the model registered. A request that is
made twice is answered once. lm-evaluation-harness is no dependency of hortus; it must be installed beside it.

Legend: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

import hortus
from hortus.errors import ConfigError
from hortus.language.batching import batches_by_length, pad_right
from hortus.language.scoring import split_choice
from hortus.registry import require

__all__ = ["HortusModel", "main"]

LM: Any = require("lm_eval.api.model", extra="evaluation").LM
register_model: Any = require("lm_eval.api.registry", extra="evaluation").register_model


@register_model("hortus")
class HortusModel(LM):
    """Answers the harness's three kinds of request with a causal model.

    Args:
        pretrained: an artifact folder or hub id, or a loaded `LanguageModel`.
        batch_size: rows run together at most.
        options: passed to `hortus.load`, such as device and dtype.
    """

    def __init__(self, pretrained: Any, batch_size: int | str = 32, **options: Any):
        super().__init__()
        known = ("device", "dtype", "max_length")
        chosen = {name: value for name, value in options.items() if name in known and value is not None}
        self.model = hortus.load(pretrained, **chosen) if isinstance(pretrained, str) else pretrained
        if not hasattr(self.model.network, "hidden"):
            raise ConfigError(f"the harness cannot drive a {self.model.kind}", allowed="causal models")
        self._batch_size = int(batch_size) if str(batch_size).isdigit() else 32

    @property
    def tokenizer_name(self) -> str:
        """Part of the harness's own cache keys."""
        return str(self.model.tokenizer.fingerprint())

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each (context, continuation): its log-probability in nats, and whether it is the greedy one."""
        encode, separator = self.model.tokenizer.encode, self.model.separator_id
        distinct = list(dict.fromkeys(request.args for request in requests))
        pairs = [split_choice(encode, context, choice, separator) for context, choice in distinct]
        rows = [(before + after)[-self.model.max_length - 1 :] for before, after in pairs]
        counts = [min(len(after), len(row) - 1) for (_, after), row in zip(pairs, rows, strict=True)]
        answers = dict(zip(distinct, self._score(rows, counts), strict=True))
        return [answers[request.args] for request in requests]

    @torch.inference_mode()
    def _score(self, rows: Sequence[list[int]], counts: Sequence[int]) -> list[tuple[float, bool]]:
        """Sum and greediness of the last `counts` tokens of each row."""
        network, results = self.model.network, [(0.0, True)] * len(rows)
        batches = batches_by_length(
            list(map(len, rows)), most_rows=self._batch_size, most_tokens=self._batch_size * 512
        )
        for batch in batches:
            ids = pad_right([rows[row] for row in batch], 0).to(self.model.device)
            hidden = network.hidden(ids[:, :-1])  # (B, T - 1, D)
            for place, row in enumerate(batch):
                end = len(rows[row]) - 1
                start = end - counts[row]
                logits = network.head(hidden[place, start:end]).float()  # (counted, V)
                target = ids[place, start + 1 : end + 1]
                chosen = logits.log_softmax(-1).gather(1, target[:, None]).double().sum()
                results[row] = (float(chosen), bool((logits.argmax(-1) == target).all()))
        return results

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each whole text, in nats."""
        texts = [request.args[0] for request in requests]
        scores: list[float] = self.model.score(texts, progress=False).log_probabilities.tolist()
        return scores

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """A continuation of each text, up to one of its stop strings."""
        answers = []
        for request in requests:
            text, settings = request.args
            until = settings.get("until") or ()
            answers.append(
                self.model.generate(
                    text,
                    truncate=True,
                    stop=(until,) if isinstance(until, str) else tuple(until),
                    max_new_tokens=int(settings.get("max_gen_toks", 256)),
                    temperature=float(settings.get("temperature") or 0) * bool(settings.get("do_sample")),
                )
            )
        return answers


def main() -> None:
    """lm-evaluation-harness's command line, with the model kind `hortus`."""
    require("lm_eval.__main__", extra="evaluation").cli_evaluate()


if __name__ == "__main__":
    main()
