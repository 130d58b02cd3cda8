"""The command: what cannot be evaluated is said in one sentence, before anything is started."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no set"),
        ({"corpus.jsonl": "{}"}, "qrels/test.tsv"),
        ({"corpus.jsonl": '{"_id": "d", "text": "A lamp."}', "qrels.tsv": "q d 1"}, "queries.jsonl: No such file"),
        ({"corpus.jsonl": "{", "qrels.tsv": "q d 1"}, "corpus.jsonl:1: a JSON object"),
    ],
)
def test_a_set_that_is_none_ends_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
    said: str,
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "argv", ["evaluation", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_make_eval_takes_a_folder_with_a_space_in_its_name() -> None:
    printed = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "eval", "DATA=/a/with space"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shlex.split(printed.stdout.splitlines()[-1])[-1] == "/a/with space"
