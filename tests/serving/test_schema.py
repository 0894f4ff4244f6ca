"""Requests made from the server's own OpenAPI document, right ones and wrong ones, never cause a 5xx."""

import hypothesis
import pytest

from hortus.language import LanguageModel
from tests.serving.conftest import running_server

schemathesis = pytest.importorskip("schemathesis")


@pytest.mark.parametrize(
    "cases", [42, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_no_request_breaks_the_server(model: LanguageModel, cases: int) -> None:
    statuses: list[int] = []
    with running_server(model, request_seconds=1, max_choices=4) as (address, engine, _):
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations()]
        assert {"/v1/completions", "/v1/chat/completions", "/v1/embeddings"} <= {o.path for o in operations}
        posts = [operation for operation in operations if operation.method.upper() == "POST"]
        for operation in operations:
            modes = list(schemathesis.GenerationMode) if operation in posts else [None]
            for mode in modes:
                count = -(-cases // (2 * len(posts))) if operation in posts else 5
                _try(operation, mode, count, statuses)
        assert engine.pool.held == 0 and not engine.running
    assert len(statuses) >= cases and set(statuses) >= {200, 400}
    assert not [status for status in statuses if status >= 500]


def _try(operation, mode, count: int, statuses: list[int]) -> None:
    strategy = operation.as_strategy() if mode is None else operation.as_strategy(generation_mode=mode)

    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=strategy)
    def run(case) -> None:
        response = case.call()
        statuses.append(response.status_code)
        assert response.status_code < 500, (case.body, response.text)

    run()
