"""Odd file names are told from ordinary ones."""

import pytest

from afigan.data.prepare.names import oddity


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("http://a.b/c.jpg", "URL"),
        ("S3://bucket/c.jpg", "URL"),
        ("file:///home/c.jpg", "URL"),
        ("data:image/png;base64,AAAA", "URL"),
        ("~", "home folder"),
        ("~/c.jpg", "home folder"),
        ("~anna/c.jpg", "home folder"),
        ("a\\b.jpg", "backslashes"),
        ("..\\b.jpg", "backslashes"),
        ("\\\\server\\share\\b.jpg", "backslashes"),
        ("C:\\b.jpg", "drive"),
        ("d:/b.jpg", "drive"),
    ],
)
def test_an_odd_name_is_recognised(name, reason):
    found = oddity(name)
    assert found is not None and reason in found[0] and found[1]


@pytest.mark.parametrize(
    "name", ["a.jpg", "a/b c.jpg", "a~/b.jpg", "~a.jpg", "a:b.jpg", "12:30/a.jpg", "data/a.jpg", ""]
)
def test_an_ordinary_name_is_not_odd(name):
    assert oddity(name) is None
