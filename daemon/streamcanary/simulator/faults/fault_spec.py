"""Which behaviour a model's name asks for: ``sim-cut``, ``sim-500@2``, ``sim-cut%30``, ``sim-cut%30~7``.

sim-FAULT              always
sim-FAULT@N            the first N requests of this name, then ok
sim-FAULT%P            with a probability of P per cent, else ok; the same sequence after every start
sim-FAULT%P~SEED       another such sequence
sim-FAULT%P~SEED@N     both: only the first N requests are diced for
"""

import re
from random import Random
from typing import Final

from msgspec import Struct

from streamcanary.simulator.faults.before_stream import OPENINGS
from streamcanary.simulator.faults.in_stream import STREAMS
from streamcanary.simulator.http.response_writer import Behaviour

PREFIX: Final = "sim-"
FAULTS: Final[dict[str, Behaviour]] = {**STREAMS, **OPENINGS}
"""Every behaviour by name, ``sim-`` left off; ``ok`` comes first."""
_MAX_NAMES = 1000
_SHAPE = re.compile(
    r"(?P<fault>[a-z0-9][a-z0-9-]{0,63})"
    r"(?:%(?P<percent>[0-9]{1,3}(?:\.[0-9]{1,3})?)(?:~(?P<seed>[0-9]{1,9}))?)?"
    r"(?:@(?P<first>[0-9]{1,9}))?"
)


class UnknownFault(ValueError):
    """A name that asks for nothing the simulator can do; the message says what it can."""


class Choice(Struct, frozen=True, kw_only=True):
    """A fault and how often it strikes: ``percent`` of the ``first`` requests, of all if ``None``."""

    fault: str
    percent: float = 100.0
    seed: int = 0
    first: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Choice":
        """Return the choice that ``text`` spells, without ``sim-``.

        Raises:
            UnknownFault: if it spells none.
        """
        shape = _SHAPE.fullmatch(text)
        if shape is None:
            raise UnknownFault(f"not a fault: {text[:80]!r}; write one like cut, 500@2, cut%30 or cut%30~7")
        fault, percent, seed, first = shape.group("fault", "percent", "seed", "first")
        if fault not in FAULTS:
            raise UnknownFault(f"no fault is called {fault!r}; there are: {', '.join(FAULTS)}")
        if percent is not None and float(percent) > 100:
            raise UnknownFault(f"a probability is at most 100 per cent, not {percent}")
        return cls(
            fault=fault,
            percent=100.0 if percent is None else float(percent),
            seed=int(seed or 0),
            first=None if first is None else int(first),
        )


class Chooser:
    """Remembers, for each name, how often it was asked for; of a thousand names, then it forgets the oldest."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turns] = {}

    def next(self, name: str, choice: Choice) -> str:
        """Return the fault to play for the next request of ``name``."""
        turns = self._turns.get(name)
        if turns is None:
            if len(self._turns) >= _MAX_NAMES:
                del self._turns[next(iter(self._turns))]
            turns = self._turns[name] = _Turns(choice)
        return turns.next()


class _Turns:
    """The sequence of one name."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._taken = 0
        self._dice = Random(choice.seed)  # noqa: S311 - repeatable on purpose, and nothing secret depends on it

    def next(self) -> str:
        self._taken += 1
        if self._choice.first is not None and self._taken > self._choice.first:
            return "ok"
        return self._choice.fault if self._dice.random() * 100 < self._choice.percent else "ok"
