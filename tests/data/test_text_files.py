import pytest

from esv_jax.checks import InputError
from esv_jax.data.text_files import check_columns, read_csv, read_json


def test_lines_have_their_numbers_in_the_file(tmp_path):
    (tmp_path / "a.csv").write_bytes('\ufeffx,y\r\n1,"a\nb"\r\n\r\n2,c\r\n'.encode())
    rows, columns = read_csv(tmp_path / "a.csv", "the table")
    assert columns == ["x", "y"]
    assert rows == [(3, {"x": "1", "y": "a\nb"}), (5, {"x": "2", "y": "c"})]


@pytest.mark.parametrize("content", [None, b"x,y\n\xff,1\n", b'x\n"1\n'])
def test_what_cannot_be_read_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)
    for read in (read_csv, read_json):
        with pytest.raises(InputError, match=r"the table .*a\.csv cannot be read: "):
            read(tmp_path / "a.csv", "the table")


def test_a_missing_column_is_named():
    check_columns("a.csv", ["x", "y"], ("y",))
    with pytest.raises(InputError, match=r"a.csv should have a column 'z', found the columns \['x', 'y'\]"):
        check_columns("a.csv", ["x", "y"], ("y", "z"))
