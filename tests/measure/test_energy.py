import math

import pytest

from tlx.measure.energy import DEVICES, Device, device_called, energy_of

ROUND = Device("a round one", watts=360, peak_flops=1e12, format="float32", source="made up")


def test_energy_by_hand() -> None:
    """1e15 operations at 1e12 a second take 1,000 s; 360 W for 1,000 s are 100 Wh."""
    assert energy_of(1e15, ROUND, utilisation=1.0).wh == pytest.approx(100)
    assert energy_of(1e15, ROUND, utilisation=0.25).wh == pytest.approx(400)
    assert energy_of(0.0, ROUND).wh == 0.0
    assert ROUND.joules_per_flop(0.5) == pytest.approx(7.2e-10)


def test_the_assumption_goes_with_the_number() -> None:
    assert energy_of(1.0, ROUND, utilisation=0.25).assumption == (
        "if run on a round one (360 W, 1 TFLOP/s in float32) at 25 % of its peak; host and cooling left out"
    )
    assert "5.02 TFLOP/s in float32) at 30 % of its peak" in energy_of(1.0, DEVICES["epyc-7763"]).assumption


@pytest.mark.parametrize("flops", [-1.0, math.nan])
def test_impossible_operations_are_refused(flops: float) -> None:
    with pytest.raises(ValueError, match="flops: expected a number ≥ 0"):
        energy_of(flops, ROUND)


@pytest.mark.parametrize("utilisation", [0.0, 1.5, math.nan])
def test_impossible_utilisation_is_refused(utilisation: float) -> None:
    with pytest.raises(ValueError, match="utilisation: expected a share above 0 and at most 1"):
        energy_of(1.0, ROUND, utilisation)


def test_every_device_is_described() -> None:
    for device in DEVICES.values():
        assert device.source and 1e-13 < device.joules_per_flop(1.0) < 1e-9


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("Tesla T4", "t4"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA H200", "h200"),
        ("TPU v3", "tpu-v3"),
        ("cpu", "epyc-7763"),
    ],
)
def test_devices_by_the_names_that_jax_gives_them(kind: str, key: str) -> None:
    assert device_called(kind) is DEVICES[key]


@pytest.mark.parametrize("kind", ["", "NVIDIA L40S", "TPU v5 lite", "METAL"])
def test_devices_of_which_nothing_is_known(kind: str) -> None:
    assert device_called(kind) is None
