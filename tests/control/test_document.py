"""docs/CONTROL.md says what the code does: frames, verbs, parameters, limits."""

import re
from pathlib import Path

from vfsd.attributes import NAME_MAX, PATH_MAX, Stat
from vfsd.control import bounds, connection, framing, openfiles, server, watching
from vfsd.control.bounds import BOUNDS, LENGTHS
from vfsd.control.changing import XATTR_NAME_MAX
from vfsd.control.protocol import VERBS
from vfsd.control.validation import describe
from vfsd.control.verb import PAGE_LIMIT

DOCUMENT = (Path(__file__).parents[2] / "docs" / "CONTROL.md").read_text()


def rows(header: str) -> list[list[str]]:
    """Return the cells of each row of the table with this header."""
    _, _, rest = DOCUMENT.partition(header + "\n")
    assert rest, f"no table {header!r}"
    found = []
    for line in rest.splitlines()[1:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line[1:-1].split("|")])
    return found


def test_every_verb_has_its_row():
    expected = []
    for name, kind in VERBS.items():
        parameters = ", ".join(
            f"`{key}`" if is_required else f"[`{key}`]" for key, _, is_required in describe(kind)
        )
        assert kind.__doc__
        expected.append([name, parameters, kind.__doc__.splitlines()[0]])
    assert rows("| verb | parameters | meaning |") == expected


def parameter_rows() -> list[list[str]]:
    types: dict[str, str] = {}
    for kind in VERBS.values():
        for key, wanted, _ in describe(kind):
            wanted = "an array of put entries" if key == "entries" else wanted
            wanted = wanted.removeprefix("a ").removesuffix(" or nil")
            assert types.setdefault(key, wanted) == wanted, f"{key} has two meanings"
    found = []
    for key, wanted in sorted(types.items()):
        least, greatest = BOUNDS.get(key, (None, None))
        limit = str(LENGTHS.get(key, "")) if least is None else f"{least}, {greatest}"
        found.append([f"`{key}`", wanted, limit])
    return found


def test_every_parameter_has_its_row():
    assert rows("| parameter | type | least, greatest or longest |") == parameter_rows()


def test_every_verb_has_a_result():
    told = [name for row in rows("| verb | result |") for name in row[0].split(", ")]
    assert set(told) - {"all others"} <= set(VERBS)
    assert len(told) == len(set(told))


def test_the_frame_is_the_one_in_the_code():
    assert framing.HEADER.format == ">I"
    assert [row[:3] for row in rows("| offset | size | type | field |")] == [
        ["0", "4", "u32 BE"],
        ["4", "n", "msgpack"],
    ]
    kinds = {int(row[0]): row[3] for row in rows("| kind | sent by | body | meaning |")}
    assert set(kinds) == set(map(int, framing.Kind))
    for kind in framing.Kind:
        assert kinds[kind].startswith(kind.name.lower())
    assert framing.__doc__
    for row in rows("| kind | sent by | body | meaning |"):
        assert row[2].strip("`") in framing.__doc__


def test_limits_are_the_ones_in_the_code():
    limits = {
        row[0]: [int(n) for n in re.findall(r"\d+", row[1])] for row in rows("| what | limit |")
    }
    assert limits == {
        "a body": [framing.FRAME_LIMIT_BYTES],
        "data in one message": [framing.DATA_LIMIT_BYTES],
        "a path": [bounds.PATH_LIMIT_BYTES],
        "a name": [NAME_MAX],
        "a symlink's target": [PATH_MAX - 1],
        "an extended attribute's name and value": [
            XATTR_NAME_MAX,
            bounds.XATTR_VALUE_LIMIT_BYTES,
        ],
        "entries in a page of `list`, in `put` and in `fetch`": [PAGE_LIMIT],
        "open files of a connection": [openfiles.FILES_LIMIT],
    }
    assert PAGE_LIMIT == bounds.BATCH_LIMIT
    for sentence in (
        f"at most {framing.FRAME_LIMIT_BYTES}",
        f"up to {framing.SKIP_LIMIT_BYTES >> 20} MiB",
        f"more than {connection.IN_FLIGHT_LIMIT} requests",
        f"past the {server.CONNECTIONS_LIMIT}th",
        f"past {watching.EVENTS_LIMIT}",
        f"after {connection.HELLO_TIMEOUT_SECONDS:.0f} s",
        f"an array of {2 + len(Stat._fields)} integers",
    ):
        assert sentence in DOCUMENT
