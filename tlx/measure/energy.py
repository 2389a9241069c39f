"""Energy as floating-point operations times what a stated device needs for one: an estimate, never a measurement."""

from dataclasses import dataclass

JOULES_PER_WH = 3600.0
# Share of its peak that a device is taken to reach.
UTILISATION = 0.3


@dataclass(frozen=True)
class Device:
    """A device as its maker describes it.

    Args:
      name: in words.
      watts: the most it draws: the device alone, without its host, network and cooling.
      peak_flops: floating-point operations a second at most: dense, in the number format that `format` names.
      format: of the numbers, for that peak.
      source: where both figures are from.
    """

    name: str
    watts: float
    peak_flops: float
    format: str
    source: str

    def joules_per_flop(self, utilisation: float = UTILISATION) -> float:
        """What one operation costs.

        Args:
          utilisation: share of the peak that is reached, above 0 and at most 1.

        Raises:
          ValueError: if the utilisation is out of range.

        >>> DEVICES["a100"].joules_per_flop(1.0)
        1.282051282051282e-12
        """
        if not 0 < utilisation <= 1:
            raise ValueError(f"utilisation: expected a share above 0 and at most 1, got {utilisation!r}")
        return self.watts / (self.peak_flops * utilisation)


# A CPU's peak is cores × base clock × operations a cycle, 32 of float32 with two fused multiply-adds of 8 numbers.
DEVICES = {
    "epyc-7763": Device(
        "AMD EPYC 7763", 280, 64 * 2.45e9 * 32, "float32", "AMD's product page: TDP, cores, base clock"
    ),
    "v100": Device("NVIDIA V100 SXM2", 300, 125e12, "float16", "NVIDIA's data sheet"),
    "t4": Device("NVIDIA T4", 70, 65e12, "float16", "NVIDIA's data sheet"),
    "a100": Device("NVIDIA A100 SXM", 400, 312e12, "bfloat16", "NVIDIA's data sheet"),
    "l4": Device("NVIDIA L4", 72, 121e12, "bfloat16", "NVIDIA's data sheet"),
    "h100": Device("NVIDIA H100 SXM", 700, 989e12, "bfloat16", "NVIDIA's data sheet"),
    "h200": Device("NVIDIA H200 SXM", 700, 989e12, "bfloat16", "NVIDIA's data sheet"),
    "tpu-v3": Device("TPU v3 chip", 262, 123e12, "bfloat16", "Jouppi et al. 2023, table 4"),
    "tpu-v4": Device("TPU v4 chip", 192, 275e12, "bfloat16", "Jouppi et al. 2023, table 4"),
}


def device_called(kind: str) -> Device | None:
    """The device that JAX calls by this name, in its largest form; for a CPU, of which it says no more, one of servers.

    Args:
      kind: `device_kind` of a JAX device.

    Returns:
      The device, or None if its figures are not known here.

    >>> device_called("NVIDIA H100 80GB HBM3").name, device_called("TPU v4").name, device_called("cpu").name
    ('NVIDIA H100 SXM', 'TPU v4 chip', 'AMD EPYC 7763')
    """
    words = kind.lower().replace("-", " ").split()
    if words == ["cpu"]:
        return DEVICES["epyc-7763"]
    return next((device for key, device in DEVICES.items() if set(key.split("-")) <= set(words)), None)


@dataclass(frozen=True)
class Energy:
    """An estimate of energy, with what it rests on.

    Args:
      wh: watt-hours.
      assumption: in one sentence; to be shown wherever the number is.
    """

    wh: float
    assumption: str


def energy_of(flops: float, device: Device, utilisation: float = UTILISATION) -> Energy:
    """The energy that some operations would take on a device.

    Args:
      flops: floating-point operations, not negative.
      device: of `DEVICES`, or described by the user.
      utilisation: share of the device's peak that is reached, above 0 and at most 1.

    Returns:
      Watt-hours and the assumption behind them.

    Raises:
      ValueError: if the operations are negative or not a number, or the utilisation is out of range.

    Source: figures as each device names them; Jouppi et al. 2023, "TPU v4: an optically reconfigurable supercomputer".

    >>> found = energy_of(3.6e15, DEVICES["a100"])
    >>> round(found.wh, 6)
    4.273504
    >>> found.assumption
    'if run on NVIDIA A100 SXM (400 W, 312 TFLOP/s in bfloat16) at 30 % of its peak; host and cooling left out'
    """
    if not flops >= 0:
        raise ValueError(f"flops: expected a number ≥ 0, got {flops!r}")
    wh = flops * device.joules_per_flop(utilisation) / JOULES_PER_WH
    assumption = (
        f"if run on {device.name} ({device.watts:g} W, {device.peak_flops / 1e12:.3g} TFLOP/s in {device.format}) "
        f"at {100 * utilisation:.3g} % of its peak; host and cooling left out"
    )
    return Energy(wh, assumption)
