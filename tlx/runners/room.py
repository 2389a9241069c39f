"""How many workers a cluster has room for, and what each is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlx.errors import TlxError

# More than these rarely make one small run faster.
MOST_CPUS = 4


@dataclass(frozen=True)
class Needs:
    """What a worker on a cluster is given; 0 leaves a number to `room_for`.

    Args:
      workers: how many.
      cpus: of each.
      gpus: of each.
      tpus: chips of each.
    """

    workers: int = 0
    cpus: int = 0
    gpus: int = 0
    tpus: int = 0


def room_for(needs: Needs, nodes: Sequence[Mapping[str, float]]) -> tuple[int, dict[str, float]]:
    """Workers, and the resources of each.

    Where there are TPUs, a worker has all chips of its host, as one process must; where there are GPUs, one of them;
    and hosts without are left alone, as results differ in their last bits between kinds of devices.

    Args:
      needs: what was asked for.
      nodes: the resources of each node that is up, by Ray's names.

    Returns:
      How many, and amounts of `CPU`, `GPU` and `TPU`.

    Raises:
      TlxError: no node has room for one, and no number of workers was asked for that a growing cluster might have.
    """
    each: dict[str, float] = {"GPU": needs.gpus, "TPU": needs.tpus}
    if not any(each.values()):
        if chips := [node["TPU"] for node in nodes if node.get("TPU")]:
            each["TPU"] = min(chips)
        elif any(node.get("GPU") for node in nodes):
            each["GPU"] = 1
    suited = [node for node in nodes if all(node.get(name, 0) >= amount for name, amount in each.items())]
    cores = [node["CPU"] for node in suited if node.get("CPU", 0) >= 1]
    most = 1 if any(each.values()) else int(min([MOST_CPUS, *cores]))
    each = {name: amount for name, amount in {"CPU": needs.cpus or most, **each}.items() if amount}
    count = sum(int(min(node.get(name, 0) // amount for name, amount in each.items())) for node in nodes)
    if not (needs.workers or count):
        wanted = ", ".join(f"{amount:g} {name}" for name, amount in each.items())
        raise TlxError(f"--runner: no node of the Ray cluster has what a worker needs ({wanted}); see config.plan")
    return needs.workers or count, each


def as_options(each: Mapping[str, float]) -> dict[str, Any]:
    """The same amounts as Ray takes them.

    Args:
      each: from `room_for`.
    """
    others = {name: amount for name, amount in each.items() if name not in ("CPU", "GPU")}
    return {"num_cpus": each.get("CPU", 0), "num_gpus": each.get("GPU", 0), "resources": others}
