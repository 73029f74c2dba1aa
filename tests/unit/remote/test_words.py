"""What drivers and users say, as vfsd takes it: options, errors, times, names; and no secrets."""

import errno
from datetime import UTC, datetime

import pytest

from providers.remote.facts import facts_of
from providers.remote.failures import errno_of
from providers.remote.layout import Layout
from providers.remote.options import parse_options
from providers.remote.secrets import Redactor, shown
from vfsd.errors import UserError
from vfsd.sourcelist import chained_path


def test_options_are_read():
    options = parse_options(
        {
            **{"cache": "8M", "block": "64k", "ttl": "0.5", "fs.anon": "true", "fs.key": "abc"},
            **{"fs.client_kwargs.endpoint_url": "http://h:1", "fs.s3.max": "5"},
        }
    )
    assert (options.cache, options.block, options.ttl_s) == (8 << 20, 64 << 10, 0.5)
    assert options.storage == {
        **{"anon": True, "key": "abc", "s3": {"max": 5}},
        **{"client_kwargs": {"endpoint_url": "http://h:1"}},
    }


@pytest.mark.parametrize(
    "given",
    [
        *({"cache": "1K"}, {"cache": "100K"}, {"block": "1"}, {"ttl": "-1"}, {"ttl": "nan"}),
        *({"timeout": "0"}, {"timeout": "forever"}, {"calls": "0"}, {"size": "1G"}, {"fs.": "1"}),
        *({"fs.a..b": "1"}, {"fs.a": "1", "fs.a.b": "2"}, {"readahead": "1_000"}),
    ],
)
def test_a_wrong_option_is_named(given):
    with pytest.raises(UserError) as caught:
        parse_options(given)
    assert caught.value.exit_code == 2


def raised(kind, **fields):
    """Return an exception of a class of that name, as a library raises it."""
    error = type(kind, (Exception,), {})("text")
    for name, value in fields.items():
        setattr(error, name, value)
    return error


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError("x"), errno.ENOENT),
        (OSError(errno.ENOSPC, "x"), errno.ENOSPC),
        (OSError(-2, "Name or service not known"), errno.EIO),
        (TimeoutError(), errno.ETIMEDOUT),
        (PermissionError("x"), errno.EACCES),
        (raised("ClientResponseError", status=403), errno.EACCES),
        (raised("HTTPError", response=raised("Response", status_code=404)), errno.ENOENT),
        (
            raised("ClientError", response={"ResponseMetadata": {"HTTPStatusCode": 404}}),
            errno.ENOENT,
        ),
        (raised("HttpError", code=500), errno.EIO),
        (raised("NoCredentialsError"), errno.EACCES),
        (raised("ServerDisconnectedError"), errno.ECONNRESET),
        (caused(FileNotFoundError("x"), raised("ClientResponseError", status=500)), errno.EIO),
        (caused(FileNotFoundError("x"), ConnectionRefusedError()), errno.ECONNREFUSED),
        (ValueError("x"), errno.EIO),
    ],
)
def test_errors_become_errnos(error, code):
    assert errno_of(error) == code


@pytest.mark.parametrize(
    ("word", "value", "seconds"),
    [
        ("mtime", 1.5, 1.5),
        ("LastModified", datetime(2026, 1, 1, tzinfo=UTC), 1767225600),
        ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT", 1767225600),
        ("updated", "2026-01-01T00:00:00.000Z", 1767225600),
        ("date_time", (2026, 1, 1, 0, 0, 0), 1767225600),
        ("mtime", "nonsense", None),
        ("mtime", float("nan"), None),
        ("mtime", 1e300, None),
        ("date_time", (0, 99, 99), None),
        ("mtime", True, None),
    ],
)
def test_times_have_many_names(word, value, seconds):
    found = facts_of({"type": "file", "size": 1, word: value}).mtime_ns
    assert found == (None if seconds is None else int(seconds * 10**9))


@pytest.mark.parametrize("size", [-1, None, "7", 1 << 70, True, 1.5])
def test_an_odd_size_is_none(size):
    assert facts_of({"type": "file", "size": size}).size is None


def test_a_name_that_is_both_is_the_directory():
    layout = Layout("bucket/prefix", "s3://bucket/prefix", is_http=False)
    names = ["both", "f", "f/", "", "..", "a/b", "n\0", "\ud800", "x" * 256, "é" * 127]
    infos = [{"name": f"bucket/prefix/{name}", "type": "file", "size": 1} for name in names]
    infos += [
        {"name": "bucket/prefix/both", "type": "directory"},
        {"name": "elsewhere/f", "type": "file"},
        {"name": None, "type": "file"},
        {"name": "bucket/prefix", "type": "directory"},
    ]
    found = layout.children(b"", infos)
    assert list(found) == [b"both", b"f", "é".encode() * 127]
    assert found[b"both"].is_directory
    assert layout.skipped == 9


def test_names_of_urls_are_quoted_and_tokens_go_with_them():
    layout = Layout("http://h/top/?token=1", "http://h/top/", is_http=True)
    assert layout.place(b"a b/\xff?%") == "http://h/top/a%20b/%FF%3F%25?token=1"
    assert layout.place(b"", directory=True) == "http://h/top/?token=1"
    found = layout.children(b"", [{"name": "http://h/top/%FF%3F%25", "type": "file"}])
    assert list(found) == [b"\xff?%"]


def test_a_hundred_thousand_names():
    layout = Layout("b", "s3://b", is_http=False)
    infos = ({"name": f"b/{number:06}", "type": "file", "size": 1} for number in range(100_000))
    assert len(layout.children(b"", infos)) == 100_000


def test_secrets_do_not_show():
    url = "zip::https://me:pa55word@host/a.zip?X-Amz-Signature=abcdef"
    assert shown(url) == "zip::https://host/a.zip"
    redactor = Redactor(url, {"key": "AKIDSECRET", "nested": {"token": "t0ken"}, "port": 80})
    text = redactor.clean(f"GET {url} with AKIDSECRET,\n t0ken and pa55word failed for me")
    assert text == "GET zip::https://host/a.zip with ..., ... and ... failed for me"


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("fsspec:zip::file:///a.zip", "/a.zip"),
        ("fsspec:zip::./a.zip", "./a.zip"),
        ("fsspec:tar::gzip::local:///a", "/a"),
        ("fsspec:zip::s3://b/a.zip", None),
        ("fsspec:http://h/a.zip", None),
        ("memory", None),
    ],
)
def test_the_local_file_of_a_chain_is_found(source, path):
    assert chained_path(source) == path


@pytest.mark.parametrize(
    ("key", "words"),
    [("cahce", "did you mean 'cache'?"), ("zzz", "it knows cache=, "), ("", "it knows cache=, ")],
)
def test_an_unknown_option_is_told_the_one_that_may_have_been_meant(key, words):
    with pytest.raises(UserError, match=f"no option '{key}'; ") as caught:
        parse_options({key: "1"})
    assert words in caught.value.message
