"""How often transfer does harm in a study."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tlx.measure.negative import NegativeTransfer, negative_transfer
from tlx.measure.pairing import Record, pair
from tlx.report import wording
from tlx.report.table import Table

Q = 0.05
NOTE = (
    "Gains: of transfer, one for each source, target, method and budget. Negative: with a mean below 0. Surely "
    "negative: below 0 after Benjamini and Hochberg, with a false discovery rate of 5 % over all gains of the study, "
    "as shares of those with the three seeds that a test takes."
)


@dataclass(frozen=True)
class Harm:
    """The gains of transfer in a study, and which of them are negative.

    Args:
      places: source, target, entry and budget of each gain.
      gains: of each, over seeds.
      found: their counts, and which are significant.
    """

    places: tuple[tuple[str, str, str, int], ...]
    gains: tuple[tuple[float, ...], ...]
    found: NegativeTransfer = field(repr=False)

    @property
    def marked(self) -> frozenset[tuple[str, str, str, int]]:
        """The places with gains that are surely negative."""
        return frozenset(place for place, flag in zip(self.places, self.found.flags, strict=True) if flag)


def harm(records: Iterable[Record]) -> Harm:
    """Test every gain of transfer for harm.

    Args:
      records: of one study, any order.

    Raises:
      PairingError: if two records are of the same cell.
    """
    gains: dict[tuple[str, str, str, int], list[float]] = {}
    for made in pair(records):
        cell = made.record["cell"]
        if cell["arm"] == "transfer" and made.gain is not None:
            gains.setdefault((cell["source"], cell["target"], cell["entry"], cell["budget"]), []).append(made.gain)
    samples = tuple(tuple(values) for values in gains.values())
    return Harm(tuple(gains), samples, negative_transfer(samples, Q))


def harm_table(found: Harm) -> Table | None:
    """One line for each method, and one for all; `NOTE` explains it. None without a gain."""
    if not found.places:
        return None
    entries = list(dict.fromkeys(entry for _, _, entry, _ in found.places))
    lines = [_line(entry, found, [entry]) for entry in entries]
    if len(entries) > 1:
        lines.append(_line("all", found, entries))
    return Table(("Method", "Gains", "Negative", "Tested", "Surely negative"), (("", tuple(lines)),))


def _line(name: str, found: Harm, entries: Sequence[str]) -> tuple[str, ...]:
    flags = zip(found.places, found.gains, found.found.flags, strict=True)
    mine = [(gains, flag) for (_, _, entry, _), gains, flag in flags if entry in entries]
    alone = negative_transfer([gains for gains, _ in mine])
    surely = sum(flag for _, flag in mine)
    share = wording.percent(surely / alone.tested if alone.tested else None)
    return (
        name,
        str(alone.gains),
        f"{alone.negative} ({wording.percent(alone.raw_rate)})",
        str(alone.tested),
        f"{surely} ({share})" if alone.tested else wording.UNKNOWN,
    )
