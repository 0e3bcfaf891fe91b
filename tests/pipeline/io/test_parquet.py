import base64
import zlib

import pyarrow as pa
import pytest

from pipeline.io import parquet, storage
from schemas.errors import InputError

INT128 = (  # a Parquet file of polars with one number of 128 bits, which pyarrow has no type for
    "eNptUU1PwkAQ3W5Mw8F4YjfdpIdeJBAahAVT6m0gBIlJbRvjx7FYFkiQEoqgnvw5/kxnFw+a+JKdr/feHHZiSDuMMJ/5PqNY2MwmhBJ8l"
    "kX+gp2Jc2ILx1ozwimPeFSrEOHyCou4pqnwr0+2RbFjFLXMYxSlqBSucGv37r92/mmxKsGG1io8qhLc55xCmt4+XJXPi9lL5nxZFxrdJ0"
    "CMdOjvsX9LfnozugEoYWhyAs0Y+cNBzycA8986EwLNf5i5CWMwFNrRPJjAwOSR3ocwewDiOzQ1j3VytA4TvW9+7Mc9IE4UF6tsW3r1zft"
    "uUawb3n62LZfF2pOtTqvt1aevy1XuBSpsy2neVSqXgVJ9mXd6Muhn7TCT4aVSUgXZLA9lQ7gu/usj3iHGK30D2F1Zgg=="
)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request, tmp_path):
    """The same behaviour is promised locally and on object stores."""
    return str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def test_a_table_is_read_as_it_was_written(folder):
    uri = storage.join(folder, "t.parquet")
    table = pa.table({"a": [1, 2]})
    assert parquet.write_table(uri, table)
    assert parquet.read_table(uri).equals(table)


def test_not_parquet_is_said(tmp_path):
    (tmp_path / "m.parquet").write_text("video_id,video_uri")
    with pytest.raises(InputError, match="is not a Parquet file"):
        parquet.read_table(str(tmp_path / "m.parquet"))


def test_a_type_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "m.parquet").write_bytes(zlib.decompress(base64.b64decode(INT128)))
    with pytest.raises(InputError, match="more than 64 bits.*write the column of this type as another one"):
        parquet.read_table(str(tmp_path / "m.parquet"))
