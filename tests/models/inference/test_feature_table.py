"""Tests of features.npy: files of all numpy versions are read, and no code in them runs."""

import io
import pickle

import numpy as np
import pytest

from models.inference.feature_table import read_feature_table, write_feature_table
from util.errors import UserError

TABLE = {0: np.arange(6.0).reshape(2, 3), 6: np.ones((3, 3), np.float32)}


def tables_equal(table, other):
    return set(table) == set(other) and all(np.array_equal(table[key], other[key]) for key in table)


def write_pickle(path, payload):
    """Write an .npy file of one object with this pickle."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(file.getvalue() + payload)


def test_written_table_round_trips(tmp_path):
    write_feature_table(tmp_path / "features.npy", TABLE)
    assert tables_equal(read_feature_table(tmp_path / "features.npy"), TABLE)
    loaded_by_numpy = np.load(tmp_path / "features.npy", allow_pickle=True).item()
    assert tables_equal(loaded_by_numpy, TABLE)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_files_of_old_and_new_numpy_load(tmp_path, module):
    table = {np.int64(3): TABLE[0], 6: np.ones((2, 3), order="F")}
    payload = pickle.dumps(np.array(table, dtype=object), 3)
    assert b"multiarray" in payload
    is_numpy_2 = b"numpy._core.multiarray" in payload
    written_module = b"numpy._core.multiarray" if is_numpy_2 else b"numpy.core.multiarray"
    write_pickle(tmp_path / "features.npy", payload.replace(written_module, module))
    assert tables_equal(read_feature_table(tmp_path / "features.npy"), table)


def test_a_file_of_python_2(tmp_path):
    """The published file has protocol 2, with array data in a byte string."""
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    double = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    any_object = (
        b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
    )
    array = (
        reconstruct
        + b"(K\x01(K\x02K\x03t"
        + double
        + b"I00\nU"
        + bytes([48])
        + TABLE[0].tobytes()
        + b"tb"
    )
    table = reconstruct + b"(K\x01)" + any_object + b"I00\n]}K\x06" + array + b"satb"
    write_pickle(tmp_path / "features.npy", b"\x80\x02" + table + b".")
    assert tables_equal(read_feature_table(tmp_path / "features.npy"), {6: TABLE[0]})


class Malicious:
    """Opens a file for writing when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda malicious: malicious,
        lambda malicious: {6: malicious},
        lambda malicious: np.array({6: TABLE[0], 7: malicious}, dtype=object),
    ],
)
def test_file_that_would_execute_code_is_refused(tmp_path, wrap):
    victim, path = tmp_path / "written_by_the_pickle", tmp_path / "features.npy"
    write_pickle(path, pickle.dumps(wrap(Malicious(victim))))
    with pytest.raises(UserError, match=r"features.npy .*io.open"):
        read_feature_table(path)
    assert not victim.exists()


@pytest.mark.parametrize(
    "table",
    [
        {},
        {0: np.zeros(3)},
        {0: np.zeros((2, 3)), 1: np.zeros((2, 4))},
        {0: np.full((1, 3), np.nan)},
        {"a": np.zeros((2, 3))},
        {0: np.zeros((0, 3))},
        {0: np.zeros((2, 2), dtype=object)},
    ],
)
def test_file_that_is_no_feature_table_is_refused(tmp_path, table):
    np.save(tmp_path / "features.npy", np.array(table, dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="features.npy"):
        read_feature_table(tmp_path / "features.npy")


@pytest.mark.parametrize("content", [b"", b"no numpy file", None])
def test_other_files_are_refused(tmp_path, content):
    if content is None:
        np.save(tmp_path / "features.npy", np.zeros((2, 3)))
    else:
        (tmp_path / "features.npy").write_bytes(content)
    with pytest.raises(UserError, match="features.npy"):
        read_feature_table(tmp_path / "features.npy")
