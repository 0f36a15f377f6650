"""`make lint-words` reports spelling mistakes and the words of `tools/words/glossary.txt`, and no ordinary English."""

import re
from collections.abc import Callable
from pathlib import Path

import codespell_lib
import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "tools/words/glossary.txt"
ENTRIES = [line.partition("->")[0] for line in GLOSSARY.read_text(encoding="utf-8").splitlines()]
_FINDING = re.compile(r":(?P<line>\d+): (?P<term>.+?) ==> ")
FORMER_IDIOM = """
told, unheard, sighting, sightings, errand, errands, consent, doubted, trail, tally, verdict, whoever, mend, mends,
mended, mending, journal, doctor, misfit, misfits, caveat, caveats, unfit, unkeyed, unsent, struck, treasurer, wording,
spared, openings, vitals, standing, board, bill, leg, judge, called off, call off, hears of, heard of, is told of,
of late, by then, what became of, gets on, is well again, who hears, level receiver, edge receiver,
level-receiver, edge-receiver, called-off, notice, notices, tells, tallying, recalling, withdrawal, judgement
"""

Lint = Callable[[str, str], list[tuple[int, str]]]


@pytest.fixture
def lint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lint:
    """Return a function that returns the line and the term of each finding in a text."""
    monkeypatch.chdir(ROOT)

    def findings(config: str, text: str) -> list[tuple[int, str]]:
        sample = tmp_path / "sample.py"
        sample.write_text(text, encoding="utf-8")
        code = codespell_lib.main("--config", f"tools/words/{config}.cfg", str(sample))
        found = [(int(each["line"]), each["term"].lower()) for each in _FINDING.finditer(capsys.readouterr().out)]
        assert (65 if found else 0) == code
        return found

    return findings


def snippet(entry: str) -> str:
    """Return a line that contains the entry as code or as prose."""
    if entry.startswith(("def ", "class ")):
        return f"{entry}(value):"
    return f"self.receiver{entry}incident)" if entry.endswith("(") else f"Perhaps {entry}."


def test_each_entry_of_the_glossary_is_reported(lint: Lint) -> None:
    """A line that contains an entry leads to a finding that names the entry."""
    found = lint("glossary", "\n".join(snippet(entry) for entry in ENTRIES))
    assert [] == [entry for number, entry in enumerate(ENTRIES, 1) if (number, entry) not in found]


def test_the_glossary_covers_the_former_idiom(lint: Lint) -> None:
    """The terms that the project replaced are all found, as a word or as a part of a phrase."""
    terms = [term.strip() for term in FORMER_IDIOM.replace("\n", " ").split(",")]
    found = dict(lint("glossary", "\n".join(f"Perhaps {term}." for term in terms)))
    assert [] == [term for number, term in enumerate(terms, 1) if found.get(number, "?") not in term]


def test_each_entry_names_its_replacement() -> None:
    """Each line is `entry->replacement,`: for the comma, codespell prints it and never writes it."""
    lines = GLOSSARY.read_text(encoding="utf-8").splitlines()
    assert [] == [line for line in lines if not re.fullmatch(r"[a-z_ .(-]+->[a-z_A-Z][\w ,.]*,", line)]
    assert len(ENTRIES) == len(set(ENTRIES))


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("told_receivers = 1", "told"),
        ("receivers_told = 1", "told"),
        ("class ToldReceivers:", "told"),
        ("toldReceivers", "told"),
        ("TOLD = 1", "told"),
        ("HTTPVerdict", "verdict"),
        ("Whoever reads this", "whoever"),
        ("def look_at(group):", "def look_at"),
        ("def tells(receiver):", "def tells"),
        ("a called-off alert", "called-off"),
        ("one edge-receiver", "edge-receiver"),
        ("# What became of it.", "what became of"),
        ("Of late, it fails.", "of late"),
        ("a never-unseen canary", "unseen"),
        ('"""Say who is told."""', "told"),
        ("`told()`", "told"),
        ("test_the_receiver_is_told_once", "told"),
    ],
)
def test_identifiers_are_split_into_words(text: str, term: str, lint: Lint) -> None:
    """An entry is found in snake_case, camelCase, upper case, code and docstrings."""
    assert [(1, term)] == lint("glossary", text)


def test_file_names_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module whose name is an entry is reported."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "errand.py").touch()
    codespell_lib.main("--config", "tools/words/glossary.cfg", str(tmp_path / "errand.py"))
    assert "errand ==> blocking call" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "The time left is its own field; note that it is over 10 s.",
        "Look at the log, and say which page wakes somebody.",
        "The canary distinguishes a stall from a slow answer; tell them apart by the noticed delay.",
        "Of the trailing spaces, none is needed.",
        "The number of late receivers, of course, is a finding.",
        "A progress report, a key/value pair, a walk of the tree.",
        "A pairwise comparison; the billing page; a dashboard; the heartbeat; a legend; recommended terms.",
        "def receivers_for(incident):",
        "class PairedSample:",
        "remaining = self.left",
        "    recall: false",
        "Set `recall` to false.",
        "journal_mode = WAL",
        "What they have spent while sightseeing.",
    ],
)
def test_ordinary_english_is_not_reported(text: str, lint: Lint) -> None:
    """Words of the field and everyday words with their usual meaning pass."""
    assert [] == lint("glossary", text)


def test_a_line_can_be_exempt(lint: Lint) -> None:
    """`codespell:ignore WORD` in a comment exempts that word on that line, and nothing else."""
    text = "consent = told  # codespell:ignore consent\nconsent = 1\n"
    assert [(1, "told"), (2, "consent")] == lint("glossary", text)


def test_a_spelling_mistake_is_reported(lint: Lint) -> None:
    """The dictionary of codespell finds common typing errors."""
    assert [(2, "recieve")] == lint("typos", "Receive it.\nRecieve it.\n")  # codespell:ignore recieve
