"""What a model that writes adds, measured through the product with a provider that is asked over HTTP."""

import asyncio
import json
import re
import sys
from datetime import timedelta
from math import log2
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ProviderAuth, ProviderError, ProviderQuotaExhausted, ProviderRateLimited, SafetyBlocked
from domain.ports import CompletionRequest
from evaluation.__main__ import main
from evaluation.writing import FOLLOW_UP, QUERIES, Writer, Written, writing_table
from tests.fakes import ScriptedGenerator
from tests.openai_double import running_openai

ROWS = {
    "w": "The warranty of the lamp lasts two years.",
    "o": "The office is closed on Sundays and on public holidays.",
}
WORST = 1 / log2(3)  # the document that answers is the second of two


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"_id": name, "title": "", "text": text} for name, text in ROWS.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    queries = [{"_id": "1", "text": "How long is the warranty?"}, {"_id": "2", "text": "When is the office closed?"}]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\tw\t1\n2\to\t1\n")
    return tmp_path


def a_model(body: dict[str, Any]) -> str:
    """Say all again where phrasings are wanted, put the worst passage first, and know what a follow-up is about."""
    system, content = (message["content"] for message in body["messages"])
    if system.startswith("You put passages"):
        warranty = re.search(r"passage (\d)\n[^\n]*\n[^\n]*warranty", content)
        assert warranty is not None
        return str(3 - int(warranty[1]) if "long is" in content else warranty[1])
    if f"Lines 2 to {QUERIES}" in system:
        return "one more\n" * (QUERIES + 1)
    asked = re.search(r"Question: (.*)", content)
    assert asked is not None
    return asked[1] if content.endswith(FOLLOW_UP) else "SAME"


async def test_each_setting_is_measured_with_and_without_and_its_calls_are_counted(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path_factory.mktemp("results")
    page = results / "page.md"
    page.write_text("<!-- writing -->\nNothing yet.\n<!-- /writing -->\n")
    monkeypatch.setattr("evaluation.__main__.RESULTS", results)
    command = [str(folder), "--model", "openai", "--questions", "9", "--markdown", str(page)]
    monkeypatch.setattr(sys, "argv", ["evaluation", *command])
    async with running_openai() as double:
        double.completing = a_model
        monkeypatch.setenv("CHATSPHERE_OPENAI_BASE_URL", f"{double.url}/v1")
        monkeypatch.setenv("CHATSPHERE_EMBEDDING_PROVIDER", "openai")
        monkeypatch.setenv("CHATSPHERE_EMBEDDING_WIDTH", "1024")
        await asyncio.to_thread(main)
        assert double.calls == {"complete": 8}
    (kept,) = [json.loads(path.read_text()) for path in results.glob("*.json")]
    queries, rerank, follow_up, alone = (Written(**each) for each in kept["writing"][folder.name].values())
    assert [each.calls for each in (queries, rerank, follow_up, alone)] == [2, 2, 2, 2]
    assert (queries.without, queries.ndcg_10, queries.useless) == (1, 1, 2)
    assert (rerank.without, rerank.useless) == (1, 0)
    assert rerank.ndcg_10 == pytest.approx(WORST)
    assert (follow_up.ndcg_10, follow_up.useless) == (1, 0)
    assert follow_up.without == pytest.approx((1 + WORST) / 2), "its own words find one of the two"
    assert (alone.without, alone.ndcg_10) == (1, 1)
    assert all(each.input_tokens > 0 and each.output_tokens > 0 for each in (queries, rerank, follow_up, alone))
    assert "Model: gpt-5.4-mini." in page.read_text()
    assert f"| {folder.name} | `rerank` | 1.000 | 0.631 | 2 | 0 |" in page.read_text()


def test_the_table_has_a_row_for_each_set_and_setting() -> None:
    table = writing_table({"set": {"`rerank`": Written(8, 0.5, 0.625, 8, 1, 32_000, 80)}})
    assert table.splitlines()[-1] == "| set | `rerank` | 0.500 | 0.625 | 8 | 1 | 4,000 | 10 |"


async def test_a_pause_is_kept_and_what_is_of_no_use_is_counted() -> None:
    pause = ProviderRateLimited("A pause, please.", retry_after=timedelta(0))
    writer = Writer(ScriptedGenerator([], completions=[pause, "3", ProviderError("Away."), SafetyBlocked("No."), "x"]))
    request = CompletionRequest(system="", content="")
    found = [await writer.ask(request, lambda text: int(text) if text.isdigit() else None) for _ in range(4)]
    assert (found, writer.calls, writer.useless) == ([3, None, None, None], 4, 3)


@pytest.mark.parametrize("failure", [ProviderAuth("No key."), ProviderQuotaExhausted("Tomorrow.")])
async def test_what_no_other_question_will_change_ends_the_evaluation(failure: ProviderError) -> None:
    writer = Writer(ScriptedGenerator([], completions=[failure]))
    with pytest.raises(type(failure)):
        await writer.ask(CompletionRequest(system="", content=""), str)


def test_a_provider_without_its_settings_is_named_before_anything_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluation", str(folder), "--model", "gemini"])
    with pytest.raises(SystemExit):
        main()
    assert "CHATSPHERE_PROVIDER=gemini needs CHATSPHERE_GEMINI_API_KEY." in capsys.readouterr().err
