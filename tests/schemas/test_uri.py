"""Paths and URIs at the door, and how they are shown."""

from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.shown import shown, without_secrets
from schemas.uri import MAX_BYTES, parse, parse_address, require_plain_address, require_plain_endpoint, without_keys


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("data/clip.mp4", "data/clip.mp4"),
        ("data/a://b.mp4", "data/a://b.mp4"),
        ("~/clip.mp4", str(Path("~/clip.mp4").expanduser())),
        (Path("/data/ä b%20#?.mp4").as_uri(), "/data/ä b%20#?.mp4"),
        ("file://localhost/data/clip.mp4", "/data/clip.mp4"),
        ("FILE:///data/clip.mp4", "/data/clip.mp4"),
        ("file:/data/clip.mp4", "/data/clip.mp4"),
        ("S3://Bucket/Clip.mp4", "s3://Bucket/Clip.mp4"),
        ("s3://b/a@b:c.mp4", "s3://b/a@b:c.mp4"),
        ("HTTPS://host:80/a b'.mp4?sig=x%2F", "https://host:80/a%20b%27.mp4?sig=x%2F"),
        ("http://[::1]:3/x", "http://[::1]:3/x"),
        ("tar://a/clip.mp4::S3://b/s.tar", "tar://a/clip.mp4::s3://b/s.tar"),
        ("ZIP://clip.mp4::file:///d/s%20.zip", "zip://clip.mp4::/d/s .zip"),
    ],
)
def test_forms_of_a_uri_become_one(text, parsed):
    assert parse(text) == parsed
    assert parse(parsed) == parsed


REFUSED = [
    "dir://a/b.mp4", "memo://x", "data://text", "hf://datasets/a/b", "local://x", "generic://x", "ftp://host/x",
    "x\0y", "file:///x%00", "a\nb", "http://host/\x1b[31m", "file://host/x", "file://", "s3://", "s3:///key", "http:///x",
    "http://host:port/x", "http://host:65536/x", "https://[::1]:99999/x", "file:///x%ff", "tar://a::file:///%ed%a0%80",
    "http://[::1/x", "http://ho%40st/x", "s3://KEY:PASSWD@bucket/x", "s3://KEY:PAS/SWD@bucket/x",
    "s3://KEY:PAS?SWD@bucket/x", "s3://KEY:PASSWD/x", "https://user:PASSWD@host/x", "https://user:PAS/SWD@host/x",
    "https://PASSWD@host/x", "tar://clip.mp4", "tar://::s3://b/x", "tar://../x::a.tar", "tar://a::tar://b::c.tar",
    "tar://a::https://user:PASSWD@host/x.tar", "a" * (MAX_BYTES + 1), "a://" * 100_000, "s3://b/" + "x" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_all_else_is_refused_and_stays_refused(text):
    with pytest.raises(InputError) as told:
        parse(text)
    for forbidden in ("PASSWD", "SWD@", "\0", "\n", "\x1b"):
        assert forbidden not in str(told.value)
    assert len(str(told.value)) < 1000
    with pytest.raises(InputError):
        parse(without_keys(text))


@pytest.mark.parametrize(
    ("uri", "visible"),
    [
        ("s3://bucket/a b.mp4", "s3://bucket/a b.mp4"),
        ("https://h/my clip.mp4?sig=x y", "https://h/my clip.mp4?***"),
        ("https://h/clip.mp4#x", "https://h/clip.mp4?***"),
        ("s3://KEY:PAS/SWD@bucket/x", "s3://***@bucket/x"),
        ("s3://KEY:PASSWD/x", "s3://***/x"),
        ("http://host:8000/a@b.mp4", "http://host:8000/a@b.mp4"),
        ("tar://a?.mp4::https://h/s.tar?sig=x", "tar://a?.mp4::https://h/s.tar?***"),
        ("/data/what?.mp4", "/data/what?.mp4"),
        ("/data/a\x1b[31mb", "/data/a\\x1b[31mb"),
    ],
)
def test_what_is_shown(uri, visible):
    assert shown(uri) == visible


def test_secrets_in_texts():
    text = "'https://h/a?sig=1': s3://K:S/E@b/k, https://h/my clip.mp4?X-Amz-Signature=1&b=2 x (http://HOST:8265)."
    visible = "'https://h/a?***': s3://***@b/k, https://h/my clip.mp4?*** x (http://HOST:8265)."
    assert without_secrets(text) == visible


@pytest.mark.parametrize("before", ["--", "a.", "3", "x+", "-o", "y" * 40])
def test_secrets_in_words_that_only_end_with_a_uri(before):
    assert "5ecret" not in without_secrets(f"{before}https://joe:5ecret@h/k {before}s3://b/k?sig=5ecret")


@pytest.mark.parametrize(
    "endpoint",
    ["http://u:p@h:9", "u:p@h:9", "KEY@h", "http://KEY/SEC@h:9", "http://h:9/?token=p", "h:9?token=p", "http://h:9/#p"],
)
def test_endpoints_with_keys_are_refused(monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    require_plain_endpoint()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL_S3: do not put user names and keys") as told:
        require_plain_endpoint()
    assert endpoint not in str(told.value)


@pytest.mark.parametrize("address", ["joe:5ecret@h:6379", "ray://joe:5ecret@h:10001", "h:1?token=5ecret", "h:1#5ecret"])
def test_addresses_of_clusters_with_keys_are_refused(address):
    for plain in ("auto", "local", "h:6379", "ray://h:10001", "[::1]:6379"):
        require_plain_address(plain)
    with pytest.raises(InputError, match="--address: do not put user names and keys") as told:
        require_plain_address(address)
    assert "5ecret" not in str(told.value)


def test_addresses_of_clusters():
    assert parse_address("local") is parse_address("auto") is None
    assert parse_address("head.example:6379") == parse_address("ray://head.example:6379") == ("head.example", 6379)
    assert parse_address("[::1]:6379") == ("::1", 6379)


@pytest.mark.parametrize(
    "address", ["", " ", "nonsense", "Local", "auto ", "ray://h", "h:", "h:0", "h:65536", ":6379", "::1:9", "h:9/x"]
)
def test_addresses_of_other_forms_are_refused(address):
    with pytest.raises(InputError, match="--address must be local, auto or HOST:PORT of the head node, got "):
        parse_address(address)


def test_the_job_server_is_no_address_of_a_cluster():
    with pytest.raises(InputError, match="got 'http://h:8265'; the job server is for 'rvos submit --address'"):
        parse_address("http://h:8265")


@pytest.mark.timeout(60)  # quadratic time takes hours
@pytest.mark.parametrize("text", ["a://" * 10**6, "a://b?" * 10**5, "a://" + ".," * 10**5 + "x"])
def test_time_is_linear(text):
    without_secrets(text)
    with pytest.raises(InputError):
        parse(text)
