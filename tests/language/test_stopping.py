from hypothesis import given
from hypothesis import strategies as st

from hortus.language.stopping import StopScanner

letters = st.text("ab", max_size=12)


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in zip(edges, edges[1:], strict=False)]


def first_stop(text: str, stops: list[str]) -> str | None:
    """The text before the stop string that is complete first, letter by letter."""
    for end in range(1, len(text) + 1):
        complete = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(complete)]
    return None


@given(letters, st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.lists(st.integers(0, 99)))
def test_same_text_however_it_is_cut(text, stops, places) -> None:
    scanner = StopScanner(stops)
    got = "".join(scanner.push(piece) for piece in cut(text, places))
    expected = first_stop(text, stops)
    assert scanner.stopped == (expected is not None)
    if expected is None:
        assert got + scanner.finish() == text
    else:
        assert got == expected and scanner.finish() == ""


@given(letters, st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_that_may_become_a_stop_string_is_passed_on(text, stops) -> None:
    scanner = StopScanner(stops)
    shown = scanner.push(text)
    held = text[len(shown) :]
    if not scanner.stopped and held:
        assert any(stop.startswith(held) for stop in stops)
