"""The ``alerts:`` section."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamcanary.alerting.builtin import BUILTIN
from streamcanary.alerting.receivers import Receiver
from streamcanary.alerting.routes import Route
from streamcanary.alerting.rules import Name, Rule
from streamcanary.model.canary import Canary
from streamcanary.model.duration import format_duration
from streamcanary.model.misfit import Misfit, refuse


class AlertsConfig(BaseModel):
    """Rules and receivers by name, and the routes between them.

    Without ``routes`` every alert goes to every receiver. An alert that no route matches is shown, and told to nobody.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: dict[Name, Rule] = Field(default_factory=dict)
    receivers: dict[Name, Receiver] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> "AlertsConfig":
        """Hold the parts against each other; each problem is reported at the key that has it."""
        problems = [
            Misfit(("rules", name), f"{name} is the name of a built-in alert; choose another")
            for name in self.rules
            if name in BUILTIN
        ]
        known = ", ".join(sorted(self.receivers)) or "none"
        problems += [
            Misfit(("routes", number, "receivers", place), f"there is no receiver {name!r}; known: {known}")
            for number, route in enumerate(self.routes)
            for place, name in enumerate(route.receivers)
            if name not in self.receivers
        ]
        for number, route in enumerate(self.routes[:-1]):
            if not route.match:
                problems.append(
                    Misfit(("routes", number), "matches everything, so the routes after it are never reached")
                )
        refuse(type(self).__name__, problems)
        return self

    @property
    def effective_routes(self) -> tuple[Route, ...]:
        """The routes as they apply: without any, one to all receivers."""
        if self.routes or not self.receivers:
            return self.routes
        return (Route(receivers=tuple(self.receivers)),)

    def problems(self, canaries: Iterable[Canary]) -> list[Misfit]:
        """Return what is wrong with the rules in view of the canaries that there are; paths are below ``alerts``."""
        canaries, found = list(canaries), []
        for name, rule in self.rules.items():
            watched = [canary for canary in canaries if rule.watches(canary)]
            if not watched:
                found.append(Misfit(("rules", name, "match"), "matches no canary"))
            if rule.detector.type != "ratio" or (seconds := rule.detector.over.seconds) is None:
                continue
            for canary in watched:
                runs = int(seconds // canary.interval)
                if runs < rule.detector.min_samples:
                    found.append(
                        Misfit(
                            ("rules", name, "detector", "over"),
                            f"{canary.name} runs every {format_duration(canary.interval)}, {runs} times in "
                            f"{rule.detector.over}: fewer than min_samples ({rule.detector.min_samples}), "
                            "so it could never fire",
                        )
                    )
        return found
