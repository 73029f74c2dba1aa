"""What the command line of `vfsd mount` means, before anything is mounted."""

from vfsd.cli.mountoptions import asked


def test_links_are_an_option_of_the_provider():
    given = asked(["/m", "/src", "--links", "hide", "-o", "watch=off"])
    assert given.options == {"links": "hide", "watch": "off"}
    config = given.config("/m")
    assert (config.source, config.options) == ("/src", given.options)
