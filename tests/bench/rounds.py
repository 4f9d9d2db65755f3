"""How much is measured, how often, and in which order."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")


class Plan(Struct, frozen=True):
    """How many rounds there are, and which part of the full size is measured."""

    rounds: int = 5
    scale: float = 1.0

    def sized(self, full: int) -> int:
        """Return the size to measure at, of the one that counts."""
        return max(1, round(full * self.scale))


def per_second(rate: float) -> str:
    """Spell a rate."""
    return f"{rate:,.0f}/s"


def interleaved(
    plan: Plan, contenders: Mapping[str, Callable[[], T]], spell: Callable[[T], str]
) -> dict[str, list[T]]:
    """Measure every contender once per round; return what each came to, round by round.

    Every other round goes backwards, so that nobody always comes after the same one. `spell` says
    what came out, for who waits.
    """
    measured: dict[str, list[T]] = {name: [] for name in contenders}
    for number in range(1, plan.rounds + 1):
        order = list(contenders) if number % 2 else list(contenders)[::-1]
        for name in order:
            measured[name].append(contenders[name]())
        said = (f"{name} {spell(found[-1])}" for name, found in measured.items())
        say(f"round {number}: " + ", ".join(said))
    return measured


def say(line: str) -> None:
    """Tell how far it is."""
    print(f"  {line}", flush=True)
