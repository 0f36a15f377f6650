"""The timeline file: which fault is played when, for a demonstration or a game day."""

from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from streamcanary.model.config_types.duration import Duration, format_duration
from streamcanary.simulator.faults.fault_spec import FaultSpec

_MAX_FILE_SIZE = 64 * 1024


class TimelineInvalid(Exception):
    """The timeline is invalid. The message has a line for each problem: where, what, and a valid value."""


def _check_fault(fault: str) -> str:
    FaultSpec.parse(fault)
    return fault


class Phase(BaseModel):
    """From ``at`` seconds after the start of the timeline, ``fault`` is played (``cut``, ``500@2``, ``cut%30``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: Duration
    fault: Annotated[str, AfterValidator(_check_fault)]


class Timeline(BaseModel):
    """The phases of the faults that requests of one ``model`` get; the last phase has no end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1, max_length=200)] = "sim-timeline"
    phases: Annotated[tuple[Phase, ...], Field(max_length=1000)]

    @field_validator("phases")
    @classmethod
    def _check_order(cls, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        if not phases:  # checked here and not by the length of the field, which would also count invalid phases
            raise ValueError("a timeline has at least one phase, such as {at: 0s, fault: ok}")
        if phases[0].at != 0:
            raise ValueError(f"the first phase starts at 0s, not at {format_duration(phases[0].at)}")
        for earlier, later in pairwise(phases):
            if later.at <= earlier.at:
                raise ValueError(
                    f"the phase at {format_duration(later.at)} must start later than the one before it, "
                    f"at {format_duration(earlier.at)}"
                )
        return phases

    def phase_at(self, elapsed: float) -> Phase:
        """Return the current phase ``elapsed`` seconds after the start."""
        started = [phase for phase in self.phases if phase.at <= elapsed]
        return started[-1] if started else self.phases[0]

    @classmethod
    def load(cls, path: Path) -> "Timeline":
        """Return the timeline in the YAML file ``path``.

        Raises:
            TimelineInvalid: if it cannot be read, is larger than 64 KiB, or is not a timeline.
        """
        try:
            if not path.is_file() and path.exists():  # opening a pipe would block until another process writes to it
                raise TimelineInvalid(f"{path}: is not a regular file")
            with path.open(encoding="utf-8") as file:
                text = file.read(_MAX_FILE_SIZE + 1)
        except OSError as error:
            raise TimelineInvalid(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise TimelineInvalid(f"{path}: is not UTF-8 text") from None
        if len(text) > _MAX_FILE_SIZE:
            raise TimelineInvalid(f"{path}: is larger than 64 KiB")
        return cls.parse(text, source_name=str(path))

    @classmethod
    def parse(cls, text: str, *, source_name: str = "timeline") -> "Timeline":
        """Return the timeline in the YAML ``text``; ``source_name`` is its name in messages.

        Raises:
            TimelineInvalid: if it is not a valid timeline.
        """
        try:
            data = YAML(typ="rt").load(StringIO(text))
        except MarkedYAMLError as error:
            mark = error.problem_mark
            raise TimelineInvalid(f"{source_name}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}") from None
        except (YAMLError, ValueError, RecursionError) as error:  # invalid characters, invalid dates, deep nesting
            raise TimelineInvalid(f"{source_name}: not YAML: {str(error).splitlines()[0]}") from None
        if not isinstance(data, dict):
            raise TimelineInvalid(f"{source_name}: a timeline is a map with the key phases")
        try:
            return cls.model_validate(data)
        except ValidationError as invalid:
            lines = [
                f"{source_name}:{_line_of(data, problem['loc'])}: {_format_path(problem['loc'])}{_message_for(problem)}"
                for problem in invalid.errors(include_url=False, include_input=False)
            ]
            raise TimelineInvalid("\n".join(lines)) from None


def _line_of(node: Any, path: tuple[int | str, ...]) -> int:
    """Return the line (from 1) of the value at ``path``, or of its nearest parent."""
    line = 1
    for key in path:
        if not isinstance(node, (CommentedMap, CommentedSeq)):
            break
        try:
            line = node.lc.data[key][0] + 1
        except (KeyError, TypeError):  # a missing key: the line of its parent
            break
        node = node[key]
    return line


def _format_path(path: tuple[int | str, ...]) -> str:
    return ".".join(str(key) for key in path) + ": " if path else ""


def _message_for(problem: Any) -> str:
    match problem["type"]:
        case "extra_forbidden":
            return "unknown key; a timeline has model and phases, a phase has at and fault"
        case "missing":
            return "is missing"
        case _:
            return str(problem["msg"]).removeprefix("Value error, ")
