import pytest

from tlx.errors import TlxError
from tlx.runners.room import Needs, as_options, room_for

CPU, TWO = {"CPU": 16.0, "memory": 1e9}, {"CPU": 2.0}
GPU, TPU = {"CPU": 8.0, "GPU": 4.0}, {"CPU": 100.0, "TPU": 4.0}


@pytest.mark.parametrize(
    ("needs", "nodes", "count", "each"),
    [
        (Needs(), [CPU], 4, {"CPU": 4}),
        (Needs(), [CPU, TWO], 9, {"CPU": 2}),
        (Needs(), [{"memory": 1e9}, TWO], 1, {"CPU": 2}),
        (Needs(cpus=8), [CPU, TWO], 2, {"CPU": 8}),
        (Needs(), [CPU, GPU], 4, {"CPU": 1, "GPU": 1}),
        (Needs(gpus=2), [CPU, GPU], 2, {"CPU": 1, "GPU": 2}),
        (Needs(cpus=3, gpus=1), [GPU, GPU], 4, {"CPU": 3, "GPU": 1}),
        (Needs(), [CPU, TPU, TPU], 2, {"CPU": 1, "TPU": 4}),
        (Needs(tpus=1), [TPU], 4, {"CPU": 1, "TPU": 1}),
        (Needs(workers=3), [CPU], 3, {"CPU": 4}),
        (Needs(workers=2, gpus=8), [CPU], 2, {"CPU": 1, "GPU": 8}),
    ],
)
def test_workers_and_what_each_is_given(
    needs: Needs, nodes: list[dict[str, float]], count: int, each: dict[str, float]
) -> None:
    assert room_for(needs, nodes) == (count, each)


def test_a_cluster_without_room_is_refused_in_one_line() -> None:
    for needs, nodes, wanted in ((Needs(gpus=8), [CPU, GPU], "1 CPU, 8 GPU"), (Needs(cpus=20), [CPU], "20 CPU")):
        with pytest.raises(TlxError) as caught:
            room_for(needs, nodes)
        assert str(caught.value) == (
            f"--runner: no node of the Ray cluster has what a worker needs ({wanted}); see config.plan"
        )


def test_amounts_as_ray_takes_them() -> None:
    assert as_options({"CPU": 2, "GPU": 1}) == {"num_cpus": 2, "num_gpus": 1, "resources": {}}
    assert as_options({"CPU": 1, "TPU": 4}) == {"num_cpus": 1, "num_gpus": 0, "resources": {"TPU": 4}}
