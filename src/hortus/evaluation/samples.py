"""The recipe stage `samples`: what the model writes, for the report."""

from __future__ import annotations

from hortus.artifact import write_json
from hortus.evaluation.config import SamplesConfig
from hortus.recipe import Stage, StageContext, StageResult
from hortus.report import Samples

__all__ = ["STAGE"]


def run(config: SamplesConfig, context: StageContext) -> StageResult:
    """Continue the prompts and show them."""
    from hortus.language import LanguageModel

    model = LanguageModel.load(context.inputs["pretrain"] / "model")
    texts = model.generate(
        list(config.prompts),
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed,
    )
    items = list(zip(config.prompts, texts, strict=True))
    write_json(context.folder / "samples.json", items)
    return StageResult({"samples": len(items)}, [Samples("What the model writes", items)])


STAGE = Stage(SamplesConfig, run, needs=("pretrain",))
