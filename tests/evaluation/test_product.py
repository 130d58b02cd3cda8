"""Two documents through the whole of it: imported, embedded on this machine, searched, judged."""

import json
from pathlib import Path

from evaluation.__main__ import evaluate, table


async def test_a_small_set_goes_through_the_product(tmp_path: Path) -> None:
    rows = [
        {"_id": "w", "title": "Warranty", "text": "The warranty of the lamp lasts two years."},
        {"_id": "o", "title": "", "text": "The office is closed on Sundays and on public holidays."},
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "How long is the warranty?"}))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tw\t1\n")
    scores = await evaluate([tmp_path])
    assert {mode: metrics.ndcg_10 for mode, metrics in scores[tmp_path.name].items()} == {
        "keyword": 1, "vector": 1, "hybrid": 1,
    }  # fmt: skip
    assert "+0.000" in table(scores)
