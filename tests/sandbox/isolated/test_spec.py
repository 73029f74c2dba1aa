"""A policy and what it opens, as data: nothing is started here."""

from __future__ import annotations

import random
import string

import pytest

from vfsd.sandbox import spec
from vfsd.sandbox.spec import Bind, Data, Policy, Root, passing_environment, render, starting

ROOT = Root(
    {"/bin": "usr/bin", "/lib": "usr/lib"},
    ("/lib64",),
    (*spec.ETC_ALWAYS, *spec.ETC_NETWORK, "/etc/shadow"),
    {"/etc/hosts": b"10.0.0.1 secret-host\n", "/etc/resolv.conf": b"nameserver 10.0.0.2\n"},
)
TREE = Bind("/virtual", "/virtual", writable=True)
POLICY = Policy(("true",), TREE, "/virtual/app")

MOUNTING = ("--bind", "--ro-bind", "--ro-bind-try", "--bind-try", "--dev-bind", "--dev-bind-try")


def binds(policy: Policy, root: Root = ROOT) -> list[tuple[str, str, str]]:
    """Return (option, source, target) of all that shows something of the host."""
    words = render(policy, root, {})
    return [tuple(words[at : at + 3]) for at, word in enumerate(words) if word in MOUNTING]


def variables(policy: Policy, caller: dict[str, str]) -> dict[str, str]:
    """Return the environment that the options set, which must start from an empty one."""
    words = render(policy, ROOT, caller)
    assert words.count("--clearenv") == 1
    places = [at for at, word in enumerate(words) if word == "--setenv"]
    assert all(at > words.index("--clearenv") for at in places)
    return {words[at + 1]: words[at + 2] for at in places}


def test_only_the_tree_is_writable():
    assert [each for each in binds(POLICY) if each[0] != "--ro-bind"] == [
        ("--bind", "/virtual", "/virtual")
    ]


def test_of_the_host_there_is_only_usr_and_the_listed_files():
    shown = {source for _, source, _ in binds(POLICY)} - {"/virtual"}
    assert shown == {"/usr", "/lib64", *spec.ETC_ALWAYS}


def test_the_network_shows_its_files_only():
    more = set(binds(POLICY._replace(network=True))) - set(binds(POLICY))
    assert {source for _, source, _ in more} == set(spec.ETC_NETWORK)


def contents(policy: Policy) -> bytes:
    return b"".join(word.content for word in render(policy, ROOT, {}) if isinstance(word, Data))


def test_names_of_other_machines_pass_with_the_network_only():
    assert b"secret-host" not in contents(POLICY)
    assert b"secret-host" in contents(POLICY._replace(network=True))


@pytest.mark.parametrize(
    "option",
    [
        *("--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc"),
        *("--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session"),
        "--clearenv",
    ],
)
@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("terminal", [False, True])
def test_what_every_sandbox_has(option, network, terminal):
    assert option in render(POLICY._replace(network=network, terminal=terminal), ROOT, {})


def test_no_capability_is_kept_and_none_is_added():
    words = render(POLICY, ROOT, {})
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert "--cap-add" not in words


def test_the_network_namespace_is_the_only_one_that_an_option_opens():
    closed, opened = render(POLICY, ROOT, {}), render(POLICY._replace(network=True), ROOT, {})
    assert "--unshare-net" in closed
    assert {word for word in closed if not isinstance(word, Data)} - set(opened) == {
        "--unshare-net"
    }


def test_nothing_is_mounted_writable_but_the_tree_after_the_last_remount():
    words = render(POLICY, ROOT, {})
    read_only = [words[at + 1] for at, word in enumerate(words) if word == "--remount-ro"]
    assert read_only == ["/dev", "/", "/proc"]
    after = words[words.index("/proc", words.index("--remount-ro")) :]
    assert not {*MOUNTING, "--tmpfs", "--dir", "--file", "--symlink"} & {
        word for word in after if isinstance(word, str)
    }


@pytest.mark.parametrize("place", ["/tmp/tree", f"{spec.HOME}/tree", "/var/tmp/tree", "/run/tree"])
def test_private_places_do_not_cover_a_tree_in_them(place):
    words = render(POLICY._replace(base=Bind(place, place, True), directory=place), ROOT, {})
    tree = [at for at, word in enumerate(words) if word == place and words[at - 1] == place]
    private = [at for at, word in enumerate(words) if word in ("--tmpfs", "--symlink", "--dir")]
    assert tree[0] > max(private)


def test_the_home_directory_does_not_cover_the_tree():
    for place in (spec.HOME, "/home", "/"):
        policy = POLICY._replace(base=Bind(place, place, True))
        assert policy.home == "/tmp/home"
        assert variables(policy, {})["HOME"] == "/tmp/home"


def test_what_is_bound_comes_after_the_tree_and_in_order():
    given = (Bind("/a", "/x"), Bind("/b", "/virtual/deps"), Bind("/c", "/x/y", writable=True))
    assert binds(POLICY._replace(binds=given))[-4:] == [
        ("--bind", "/virtual", "/virtual"),
        ("--ro-bind", "/a", "/x"),
        ("--ro-bind", "/b", "/virtual/deps"),
        ("--bind", "/c", "/x/y"),
    ]


def random_environment(seed: int) -> dict[str, str]:
    """Make an environment of names near the listed ones and of others, with telling values."""
    chance = random.Random(seed)
    listed = [*spec.ENVIRONMENT, *spec.ENVIRONMENT_NETWORK, *spec.CERTIFICATE_VARIABLES]
    names = [
        *chance.sample(listed, 8),
        *(chance.choice(listed) + chance.choice("_X1") for _ in range(8)),
        *(chance.choice("_X1") + chance.choice(listed) for _ in range(8)),
        *(name.swapcase() for name in chance.sample(listed, 4)),
        *("".join(chance.choices(string.ascii_letters + "_", k=9)) for _ in range(8)),
        *("LD_PRELOAD", "PATH", "HOME", "PWD", "OLDPWD", "SSH_AUTH_SOCK", "AWS_SECRET", "TMPDIR"),
        *("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "GIT_DIR", "PYTHONPATH", "LC_ALL", "LC_"),
    ]
    values = ["plain", "/home/alice/secret", ":/home/alice", "", "/etc/ssl/certs/a", "C.UTF-8"]
    values += ["/etc/ssl/certs/../../home/alice", "/usr/share/ca-certificates/x", "/etc/ssl/certsX"]
    return {name: chance.choice(values) for name in names}


@pytest.mark.parametrize("seed", range(300))
@pytest.mark.parametrize("network", [False, True])
def test_nothing_outside_the_list_passes(seed, network):
    caller = random_environment(seed)
    allowed = {*spec.ENVIRONMENT, *(spec.ENVIRONMENT_NETWORK if network else ())}
    certificates = set(spec.CERTIFICATE_VARIABLES) if network else set()
    for name, value in passing_environment(caller, network=network, certificates=network).items():
        assert value == caller[name]
        assert name in allowed | certificates or name.startswith("LC_")
        assert "alice" not in value
        if name in certificates:
            assert value.startswith(tuple(f"{place}" for place in spec.CERTIFICATE_PLACES))
            assert ".." not in value.split("/")


@pytest.mark.parametrize("seed", range(50))
def test_the_environment_inside_tells_nothing_of_the_host(seed):
    own = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD"}
    caller = random_environment(seed)
    inside = variables(POLICY, caller)
    passed = passing_environment(caller, network=False, certificates=False)
    assert set(inside) == own | set(passed)
    assert inside["PWD"] == POLICY.directory
    assert not any("alice" in value for value in inside.values())


def test_what_is_set_by_option_wins():
    inside = variables(POLICY._replace(environment={"PATH": "/x", "TERM": "y"}), {"TERM": "z"})
    assert inside["PATH"] == "/x"
    assert inside["TERM"] == "y"


def test_the_command_is_not_among_the_options():
    policy = POLICY._replace(command=("a-command", "--bind", "/", "/"))
    assert "a-command" not in render(policy, ROOT, {})
    assert starting(policy)[-5:] == ["--", "a-command", "--bind", "/", "/"]


def test_a_long_command_goes_by_a_file():
    policy = POLICY._replace(command=("echo", *("it's",) * spec.WORDS_MAX))
    assert starting(policy) == ["echo", "/bin/sh", spec.COMMAND_FILE]
    words = render(policy, ROOT, {})
    script = words[words.index(spec.COMMAND_FILE) - 1]
    assert isinstance(script, Data)
    assert script.content.startswith(b"exec '/usr/bin/setsid' '--' 'echo' 'it'\\''s'")


def test_only_a_terminal_of_its_own_becomes_the_controlling_one():
    assert "--ctty" not in starting(POLICY)
    assert "--ctty" in starting(POLICY._replace(terminal=True))
