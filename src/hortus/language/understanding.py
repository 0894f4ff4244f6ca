"""What encoders are asked: to fill masks, to classify, to find answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from hortus.errors import ArtifactError, ConfigError, DataError
from hortus.language.batching import as_texts
from hortus.language.encoders import Answer, Filling, Label, answer_windows, fill_masks, label_texts
from hortus.language.opened import OpenedModel
from hortus.tokenizer import Window, joined, windows_of_pair

__all__ = ["Understanding"]


class Understanding(OpenedModel):
    """The part of `hortus.language.LanguageModel` that needs an encoder."""

    def fill_mask(
        self,
        texts: str | Sequence[str],
        *,
        top: int = 5,
        truncate: bool = False,
        progress: bool | None = None,
    ) -> list[Any]:
        """The likeliest words for each mask, which a text spells as the tokenizer does, e.g. "[MASK]".

        Args:
            top: words for each mask.
            truncate: cut the end off texts that are too long instead of refusing them.
            progress: show a bar on stderr; None shows it above a hundred texts.

        Returns:
            For a string a list of `Filling` for each of its masks; for a list of texts a list of those.

        Raises:
            ConfigError: not an encoder with a masked-LM head, or `top` below 1.
            DataError: a text without a mask, or longer than `max_length`.
        """
        self._require("fill masks", "encoder", head="masked_lm")
        if top < 1:
            raise ConfigError(f"top={top}", allowed="1 or more")
        mask_id = self.tokenizer.mask_id
        if mask_id is None:
            raise ArtifactError("the tokenizer has no mask", do="add mask_token to tokenizer_config.json")
        rows, _ = self._framed(as_texts(texts), truncate, parse_special=True)
        for number, row in enumerate(rows):
            if mask_id not in row:
                spelled = self.tokenizer.token(mask_id)
                raise DataError(f"text {number} has no mask", allowed=f"{spelled} where a word is missing")
        found = fill_masks(
            self.network,
            rows,
            mask_id,
            self._pad_id,
            top=top,
            num_tokens=self.tokenizer.vocab_size,
            progress=progress,
        )
        filled = [
            [[Filling(self.tokenizer.decode([i], False), p, i) for i, p in best] for best in masks]
            for masks in found
        ]
        return filled[0] if isinstance(texts, str) else filled

    @overload
    def classify(  # type: ignore[overload-overlap]  # a str is a sequence of str, but is tried first
        self, texts: str, second: str | None = None, *, truncate: bool = False, progress: bool | None = None
    ) -> Label: ...
    @overload
    def classify(
        self,
        texts: Sequence[str],
        second: Sequence[str] | None = None,
        *,
        truncate: bool = False,
        progress: bool | None = None,
    ) -> list[Label]: ...
    def classify(
        self,
        texts: str | Sequence[str],
        second: str | Sequence[str] | None = None,
        *,
        truncate: bool = False,
        progress: bool | None = None,
    ) -> Label | list[Label]:
        """The label of each text, or of each pair of texts.

        Args:
            second: the second text of each pair, e.g. the hypothesis after a premise.
            truncate: cut the end off texts that are too long instead of refusing them.
            progress: show a bar on stderr; None shows it above a hundred texts.

        Raises:
            ConfigError: not an encoder with a classification head.
            DataError: not text, not as many second texts, or longer than `max_length`.
        """
        self._require("classify", "encoder", head="classify")
        listed = as_texts(texts)
        others = None if second is None else as_texts(second, what="second text")
        if others is not None and len(others) != len(listed):
            raise DataError(f"{len(listed)} texts and {len(others)} second texts", allowed="as many")
        rows, types = self._framed(listed, truncate, others)
        labels = label_texts(self.network, rows, types, self._pad_id, progress)
        return labels[0] if isinstance(texts, str) else labels

    @overload
    def answer(  # type: ignore[overload-overlap]  # as above
        self, question: str, context: str, *, stride: int = 128, progress: bool | None = None
    ) -> Answer: ...
    @overload
    def answer(
        self,
        question: Sequence[str],
        context: Sequence[str],
        *,
        stride: int = 128,
        progress: bool | None = None,
    ) -> list[Answer]: ...
    def answer(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str],
        *,
        stride: int = 128,
        progress: bool | None = None,
    ) -> Answer | list[Answer]:
        """The stretch of each context that answers its question; contexts may have any length.

        Args:
            stride: tokens by which the windows of a long context overlap.
            progress: show a bar on stderr; None shows it above a hundred questions.

        Raises:
            ConfigError: not an encoder with an answer head.
            DataError: not text, not as many contexts, or a question that leaves no room.
        """
        self._require("answer", "encoder", head="answer")
        questions, contexts = as_texts(question, what="question"), as_texts(context, what="context")
        if len(questions) != len(contexts):
            raise DataError(f"{len(questions)} questions and {len(contexts)} contexts", allowed="as many")
        cut = [self.windows(one, text, stride) for one, text in zip(questions, contexts, strict=True)]
        answers = answer_windows(self.network, contexts, cut, self._pad_id, progress)
        return answers[0] if isinstance(question, str) else answers

    def windows(self, question: str, context: str, stride: int = 128) -> list[Window]:
        """What is read to answer: the question with each stretch of the context.

        Raises:
            DataError: a question that leaves no room.
        """
        overlap = min(stride, self.max_length // 4)
        return windows_of_pair(self.tokenizer, question, context, max_length=self.max_length, stride=overlap)

    def _framed(
        self,
        texts: Sequence[str],
        truncate: bool,
        second: Sequence[str] | None = None,
        parse_special: bool = False,
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids and types of texts, or of pairs, with the tokens that frame them."""
        firsts = self.tokenizer.encode_batch(texts, parse_special=parse_special)
        if second is None:
            pairs = [joined(self.tokenizer, self._cut(row, self.max_length - 2, truncate)) for row in firsts]
        else:
            pairs = []
            for row, other in zip(firsts, self.tokenizer.encode_batch(second), strict=True):
                # The second text keeps up to half of the room; the first takes what is left.
                kept = self._cut(other, (self.max_length - 3) // 2, truncate)
                room = self.max_length - 3 - len(kept)
                pairs.append(joined(self.tokenizer, self._cut(row, room, truncate), kept))
        return [ids for ids, _ in pairs], [types for _, types in pairs]
