"""Many clients that come, stay or leave at random: no error, no cache block lost, memory flat."""

import asyncio
import json
import random
import time

import psutil
import pytest

from hortus.language import LanguageModel
from tests.serving.conftest import running_server

PROMPTS = ["The quick", "", "def f(x):", "é 敏", "The quick brown fox jumps over the lazy"]


@pytest.mark.parametrize(
    ("clients", "seconds"),
    [(16, 2.0), pytest.param(64, 60.0, marks=[pytest.mark.slow, pytest.mark.timeout(200)])],
)
def test_random_cancellations(model: LanguageModel, clients: int, seconds: float) -> None:
    expected = {prompt: model.generate(prompt, max_new_tokens=40) for prompt in PROMPTS}
    process, sizes = psutil.Process(), []
    with running_server(model, max_running=32, max_queued=64) as (address, engine, _):
        port = int(address.rsplit(":", 1)[1])

        async def run() -> list[str]:
            end, wrong = time.monotonic() + seconds, []
            tasks = [asyncio.create_task(_client(port, n, end, expected, wrong)) for n in range(clients)]
            while time.monotonic() < end:
                await asyncio.sleep(seconds / 20)
                sizes.append(process.memory_info().rss)
            await asyncio.gather(*tasks)
            return wrong

        assert asyncio.run(run()) == []
        end = time.monotonic() + 10
        while engine.pool.held and time.monotonic() < end:
            time.sleep(0.01)
        assert engine.pool.held == 0 and not engine.running and not len(engine.waiting)
        text = engine.metrics.text().decode()
    assert 'reason="cancelled"' in text and 'status="5' not in text
    # Python's own pools and buffers fill up first; after that nothing may grow.
    middle = len(sizes) // 2
    assert max(sizes[middle:]) - sizes[middle] < 24 * 2**20


async def _client(port: int, number: int, end: float, expected: dict[str, str], wrong: list[str]) -> None:
    draw = random.Random(number)
    while time.monotonic() < end:
        prompt, leaves, stream = draw.choice(PROMPTS), draw.random() < 0.4, draw.random() < 0.5
        body = {"prompt": prompt, "max_tokens": 40, "temperature": 0, "stream": stream}
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = json.dumps(body).encode()
        lines = ["POST /v1/completions HTTP/1.1", "Host: x", "Connection: close"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}", "", ""]
        writer.write("\r\n".join(lines).encode() + data)
        if leaves:
            await asyncio.sleep(draw.random() * 0.1)
        else:
            answer = (await reader.read()).decode()
            status = answer.split(" ", 2)[1]
            if status == "200" and stream:
                events = [line[6:] for line in answer.splitlines() if line.startswith("data: {")]
                text = "".join(choice["text"] for e in events for choice in json.loads(e)["choices"])
            elif status == "200":
                text = json.loads(answer[answer.index("{") : answer.rindex("}") + 1])["choices"][0]["text"]
            if status not in ("200", "429") or (status == "200" and text != expected[prompt]):
                wrong.append(f"{status} {prompt!r} {answer[:300]}")
        writer.close()
