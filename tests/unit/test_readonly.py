"""The read-only view forwards all of the contract that looks, and nothing that changes."""

from vfsd.contract import Handle, Provider
from vfsd.readonly import ReadOnlyHandle, ReadOnlyView

CHANGES = {
    *("create", "link", "mkdir", "mknod", "rename", "removexattr", "rmdir", "setattr"),
    *("setxattr", "symlink", "unlink"),
    *("clear", "put_whiteout"),  # which by the contract go by unlink, rmdir and mknod
    "put_copy",  # which by the contract is not done, rather than refused
}
"""EROFS, by the contract or by the view itself."""

NOT_THE_VIEWS = {
    *("from_options", "from_sources", "recognises"),  # make a provider
    *("aclose", "watch"),  # belong to whoever owns the inner one
    "report",  # the inner one's, whose listeners the view's are
}

HANDLE_CHANGES = {"past_cache", "reopen", "write", "write_back"}


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_all_of_the_contract_is_decided_on():
    assert public(Provider) - CHANGES - NOT_THE_VIEWS == public(ReadOnlyView) - CHANGES
    assert public(Handle) - HANDLE_CHANGES == public(ReadOnlyHandle)


def test_what_changes_does_not_reach_the_inner_one():
    for name in CHANGES & public(ReadOnlyView):
        assert "inner" not in vars(ReadOnlyView)[name].__code__.co_names
