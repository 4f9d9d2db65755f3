"""How much is measured, how often, and in which order."""

from collections.abc import Callable, Mapping

from msgspec import Struct


class Plan(Struct, frozen=True):
    """How many rounds there are, and which part of the full size is measured."""

    rounds: int = 5
    scale: float = 1.0

    def sized(self, full: int) -> int:
        """Return the size to measure at, of the one that counts."""
        return max(1, round(full * self.scale))


def interleaved(
    plan: Plan, contenders: Mapping[str, Callable[[], float]], form: str = "{:,.0f}/s"
) -> dict[str, list[float]]:
    """Measure every contender once per round; return what each came to, round by round.

    Every other round goes backwards, so that nobody always comes after the same one. `form` is how
    a number is told of while it goes on.
    """
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1, plan.rounds + 1):
        order = list(contenders) if number % 2 else list(contenders)[::-1]
        for name in order:
            measured[name].append(contenders[name]())
        said = (f"{name} {form.format(found[-1])}" for name, found in measured.items())
        say(f"round {number}: " + ", ".join(said))
    return measured


def say(line: str) -> None:
    """Tell how far it is."""
    print(f"  {line}", flush=True)
