"""`LanguageModel`: a network, its tokenizer and its settings behind text-in, text-or-scores-out methods.

The methods here check and cut texts and put answers back into the order in which they were asked; the work
on tokens is in the modules beside this one: `generation` writes, `scoring` (decoders) and `sources`
(encoder-decoders) rank, `states` embeds; what encoders fill, classify and answer is in `understanding`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from hortus.errors import ConfigError, DataError
from hortus.language.batching import as_texts, batches_by_length, tracked
from hortus.language.chat import plain_prompt, render_template
from hortus.language.config import GenerationConfig
from hortus.language.generation import Row, continue_rows, shared_prefix
from hortus.language.reading import Reader
from hortus.language.sampling import uniform_numbers
from hortus.language.scoring import TextScores, score_choices, score_tokens, split_choice, windows
from hortus.language.sources import score_targets
from hortus.language.states import mean_states
from hortus.language.understanding import Understanding

__all__ = ["LanguageModel"]

_DELIMITER = " "  # between a text and its choice


class LanguageModel(Understanding):
    """Text in, text or scores out.

    Args:
        network: a network of `hortus.models`. Decoders and encoder-decoders generate and rank, decoders
            score, encoders fill masks and, with the right head, classify or answer; all embed.
        tokenizer: its tokenizer.
        generation_config: settings that `generate` starts from.
        card: the model card that `save` writes.
        max_length: the most tokens of a text, for a decoder prompt and continuation together; None takes
            the tokenizer's `model_max_length`, else the network's positions, else 2048.
        recipe: how the model was made; `save` writes it again.

    Raises:
        ArtifactError: the tokenizer has more ids than the network has embeddings.

    >>> from hortus.models.bloom import Bloom, BloomConfig
    >>> from hortus.tokenizer import TokenizerConfig, train_tokenizer
    >>> tokenizer = train_tokenizer(["to be or not to be"] * 9, TokenizerConfig(vocab_size=270))
    >>> network = Bloom(BloomConfig(vocab_size=270, hidden_size=16, num_layers=1, num_heads=2))
    >>> model = LanguageModel(network, tokenizer)
    >>> isinstance(model.generate("to be", max_new_tokens=3), str), len(model.generate(["to", "be"]))
    (True, 2)
    >>> model.rank("to be", ["or", "not"]).shape, model.embed(["to", "be"]).shape
    ((2,), (2, 16))
    >>> model.score(["to be", ""]).num_tokens.tolist()[1]
    0
    """

    @overload
    def generate(self, text: str, **options: Any) -> str: ...
    @overload
    def generate(self, text: Sequence[str], **options: Any) -> list[str]: ...
    def generate(
        self,
        text: str | Sequence[str],
        *,
        truncate: bool = False,
        parse_special: bool = False,
        batch_size: int = 16,
        progress: bool | None = None,
        **options: Any,
    ) -> str | list[str]:
        """Continue one text or a list of texts.

        Args:
            text: an empty text starts where a document starts. An encoder-decoder reads the text, with
                what its tokenizer puts around texts, and writes a new one.
            truncate: cut prompts that are too long instead of refusing them.
            parse_special: read special tokens that the text spells out as those tokens.
            batch_size: texts run together, chosen by length.
            progress: show a bar on stderr; None shows it above a hundred texts.
            options: fields of `GenerationConfig`, e.g. temperature=0.8, seed=1.

        Returns:
            The new text only, without stop string or end token: a string for a string, a list for a list.
            Generation also ends where prompt and new text fill `max_length`.

        Raises:
            ConfigError: an unknown setting or a value out of range.
            DataError: not text, or a prompt that leaves no room within `max_length`.
        """
        texts = as_texts(text)
        self._require("generate", "decoder", "encoder-decoder")
        config = self.generation_config.replaced(**options)
        rows = self._rows(texts, config, truncate, parse_special)
        readers = [Reader(self.tokenizer, row, config.stop) for row in rows]
        answers = dict(zip(map(id, rows), readers, strict=True))
        lengths = [len(row.prompt) for row in rows]
        shared = (
            self.network.architecture == "decoder"
            and len(rows) > 1
            and shared_prefix([r.prompt for r in rows])
        )
        batches = list(
            batches_by_length(
                lengths,
                most_rows=batch_size,
                most_tokens=batch_size * self.max_length,
                # Padding would stand before a beginning that is to be read once.
                most_padding=0.0 if shared else 1.0,
            )
        )
        for batch in tracked(batches, len(texts), progress, "generate"):
            for row, token in self._continue([rows[index] for index in batch], config):
                if config.stop:
                    answers[id(row)].push(token)
        answered = [reader.whole() for reader in readers]
        return answered[0] if isinstance(text, str) else answered

    def stream(
        self, text: str, *, truncate: bool = False, parse_special: bool = False, **options: Any
    ) -> Iterator[str]:
        """As `generate` for one text, in pieces as they become certain.

        No piece ends inside a character, and no part of a stop string is ever yielded.
        """
        self._require("generate", "decoder", "encoder-decoder")
        config = self.generation_config.replaced(**options)
        (row,) = self._rows(as_texts([text], single=False), config, truncate, parse_special)
        return self._pieces(row, config)

    def _pieces(self, row: Row, config: GenerationConfig) -> Iterator[str]:
        reader = Reader(self.tokenizer, row, config.stop)
        for _, token in self._continue([row], config):
            piece = reader.push(token)
            if piece:
                yield piece
        rest = reader.finish()
        if rest:
            yield rest

    def chat_prompt(self, turns: Sequence[Mapping[str, str]]) -> tuple[str, bool]:
        """The prompt for the answer to a talk, and whether a chat template made it.

        A templated prompt spells special tokens out: pass it on with `parse_special=True`.

        Args:
            turns: each with "role" (system, user or assistant) and "content".
        """
        template = self.tokenizer.settings.get("chat_template")
        if not isinstance(template, str):
            return plain_prompt(turns), False
        ids = {"bos_token": self.tokenizer.bos_id, "eos_token": self.tokenizer.eos_id}
        tokens = {name: "" if index is None else self.tokenizer.token(index) for name, index in ids.items()}
        return render_template(template, turns, tokens), True

    def _continue(self, rows: Sequence[Row], config: GenerationConfig) -> Iterator[tuple[Row, int]]:
        ends = config.eos_token_id
        if ends is None:
            ends = () if self.tokenizer.eos_id is None else (self.tokenizer.eos_id,)
        return continue_rows(
            self.network,
            rows,
            config,
            ends=frozenset(ends),
            pad_id=self._pad_id,
            num_tokens=self.tokenizer.vocab_size,
        )

    def _rows(
        self, texts: Sequence[str], config: GenerationConfig, truncate: bool, parse_special: bool
    ) -> list[Row]:
        if self.network.architecture == "encoder-decoder":
            return self._sources(texts, config, truncate, parse_special)
        prompts = self.tokenizer.encode_batch(texts, parse_special=parse_special)
        if truncate:
            # Room for the new tokens is made at the prompt's cost, but at most half of it.
            keep = max(self.max_length - config.max_new_tokens, self.max_length // 2, 1)
            prompts = [prompt[-keep:] for prompt in prompts]
        prompts = [self._cut(prompt, self.max_length - 1, False) or [self.separator_id] for prompt in prompts]
        uniforms = uniform_numbers(prompts, max(config.max_new_tokens, 1), config.seed)
        rooms = [min(config.max_new_tokens, self.max_length - len(prompt)) for prompt in prompts]
        return [Row(*parts) for parts in zip(prompts, uniforms, rooms, strict=True)]

    def _sources(
        self, texts: Sequence[str], config: GenerationConfig, truncate: bool, parse_special: bool
    ) -> list[Row]:
        encoded = self.tokenizer.encode_batch(texts, add_special=True, parse_special=parse_special)
        prompts = [self._cut(row, self.max_length, truncate) or [self.separator_id] for row in encoded]
        uniforms = uniform_numbers(prompts, max(config.max_new_tokens, 1), config.seed)
        rooms = [min(config.max_new_tokens, self.max_length)] * len(prompts)
        return [Row(*parts) for parts in zip(prompts, uniforms, rooms, strict=True)]

    @overload
    def rank(  # type: ignore[overload-overlap]  # a str is a sequence of str, but the first one is tried first
        self, text: str, choices: Sequence[str], *, truncate: bool = False, progress: bool | None = None
    ) -> np.ndarray: ...
    @overload
    def rank(
        self,
        text: Sequence[str],
        choices: Sequence[Sequence[str]],
        *,
        truncate: bool = False,
        progress: bool | None = None,
    ) -> list[np.ndarray]: ...
    def rank(
        self,
        text: str | Sequence[str],
        choices: Sequence[Any],
        *,
        truncate: bool = False,
        progress: bool | None = None,
    ) -> np.ndarray | list[np.ndarray]:
        """Log-probability of each choice given the text, which is run once for all of its choices.

        A decoder continues the text and one space: tokens as in lm-evaluation-harness, no end token. An
        encoder-decoder writes the choice and the end token after reading the text alone, as T0 does.

        Args:
            text: one text with a list of choices, or a list of texts with as many lists of choices.
            truncate: cut texts that are too long instead of refusing them.
            progress: show a bar on stderr; None shows it above a hundred texts.

        Returns:
            (number of choices,) fp64 in nats, in the order of `choices`; a list of such arrays for a list.

        Raises:
            DataError: not text, as many texts as lists of choices are not given, or a text is too long.
        """
        self._require("rank", "decoder", "encoder-decoder")
        texts = as_texts(text)
        lists = [choices] if isinstance(text, str) else list(choices)
        if len(lists) != len(texts):
            raise DataError(
                f"{len(texts)} texts and {len(lists)} lists of choices", allowed="one list of choices a text"
            )
        lists = [as_texts(mine, what="choices", single=False) for mine in lists]
        pairs = [self.tokens_to_rank(one, mine, truncate) for one, mine in zip(texts, lists, strict=True)]
        contexts, tokens = [context for context, _ in pairs], [mine for _, mine in pairs]
        if self.network.architecture == "decoder":
            arrays = score_choices(self.network, contexts, tokens, progress)
        else:
            arrays = score_targets(self.network, contexts, tokens, self._pad_id, progress)
        return arrays[0] if isinstance(text, str) else arrays

    def tokens_to_rank(
        self, text: str, choices: Sequence[str], truncate: bool = False
    ) -> tuple[list[int], list[list[int]]]:
        """Token ids of a text and of its choices, as `rank` scores them.

        Raises:
            DataError: the text or a choice is too long.
        """
        if self.network.architecture == "decoder":
            return self._split(text, choices, truncate)
        return self._targets(text, choices, truncate)

    def _split(self, text: str, choices: Sequence[str], truncate: bool) -> tuple[list[int], list[list[int]]]:
        encode, separator = self.tokenizer.encode, self.separator_id
        context, _ = split_choice(encode, text, "", separator)
        split = [split_choice(encode, text, _DELIMITER + choice, separator)[1] for choice in choices]
        longest = max(map(len, split), default=0)
        if longest >= self.max_length:
            raise DataError(f"a choice has {longest} tokens", allowed=f"{self.max_length - 1} or fewer")
        # The last token of a choice is predicted, never read.
        return self._cut(context, self.max_length - max(longest - 1, 0), truncate), split

    def _targets(
        self, text: str, choices: Sequence[str], truncate: bool
    ) -> tuple[list[int], list[list[int]]]:
        source = self._cut(self.tokenizer.encode(text), self.max_length, truncate) or [self.separator_id]
        targets = [[*row, self.separator_id] for row in self.tokenizer.encode_batch(choices)]
        longest = max(map(len, targets), default=0)
        if longest > self.max_length:
            raise DataError(f"a choice has {longest} tokens", allowed=f"{self.max_length} or fewer")
        return source, targets

    def score(
        self, texts: Sequence[str], *, overlap: int | None = None, progress: bool | None = None
    ) -> TextScores:
        """Sums of log-probabilities of whole texts, of any length.

        Each token is counted once. A text's first token follows the document separator; texts longer than
        `max_length` are cut into windows in which at least `overlap` tokens come before those counted.

        Args:
            overlap: tokens of context that later windows repeat; None is a quarter of `max_length`.
            progress: show a bar on stderr; None shows it above a hundred texts.

        Returns:
            (log_probabilities in nats, num_tokens), one entry a text; bits per byte of a text are
            -log_probability / ln 2 / number of bytes.
        """
        self._require("score", "decoder")
        texts = as_texts(texts, single=False)
        overlap = self.max_length // 4 if overlap is None else overlap
        if not 0 <= overlap < self.max_length:
            raise ConfigError(f"overlap={overlap}", allowed=f"0 to {self.max_length - 1}")
        tokens = [[self.separator_id, *row] for row in self.tokenizer.encode_batch(texts)]
        parts = [
            (number, row[start:end], first - start)
            for number, row in enumerate(tokens)
            for start, first, end in windows(len(row), self.max_length, overlap)
        ]
        sums = np.zeros(len(texts))
        # Sorted by length here, so that a bar can move between calls without costing padding.
        parts.sort(key=lambda part: -len(part[1]))
        blocks = [parts[start : start + 64] for start in range(0, len(parts), 64)]
        for block in tracked(blocks, len(texts), progress, "score"):
            scores = score_tokens(self.network, [p[1] for p in block], [p[2] for p in block], self._pad_id)
            np.add.at(sums, [p[0] for p in block], scores)
        return TextScores(sums, np.array([len(row) - 1 for row in tokens], dtype=np.int64))

    def embed(
        self, texts: str | Sequence[str], *, truncate: bool = False, progress: bool | None = None
    ) -> np.ndarray:
        """The mean of the last layer's states over a text's tokens, for an encoder those that frame it too.

        Args:
            truncate: cut texts that are too long instead of refusing them.
            progress: show a bar on stderr; None shows it above a hundred texts.

        Returns:
            (D,) fp32 for a string, (number of texts, D) for a list.

        Raises:
            DataError: not text, or longer than `max_length`.
        """
        listed = as_texts(texts)
        if self.network.architecture == "encoder":
            rows, _ = self._framed(listed, truncate)
        else:
            special = self.network.architecture == "encoder-decoder"
            encoded = self.tokenizer.encode_batch(listed, add_special=special)
            rows = [self._cut(row, self.max_length, truncate) or [self.separator_id] for row in encoded]
        means = mean_states(self.network, rows, self._pad_id, progress)
        return means[0] if isinstance(texts, str) else means
