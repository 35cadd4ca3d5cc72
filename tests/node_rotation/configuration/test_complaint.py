"""How a mistake's place is called."""

from __future__ import annotations

from node_rotation.configuration.complaint import path


def test_list_items_are_called_by_their_name_where_they_have_one():
    data = {"environments": [{"name": "dev", "clusters": [{}]}]}
    assert path(("environments", 0, "clusters", 0, "aws"), data) == "environments[dev].clusters[0].aws"


def test_a_path_that_leaves_the_document_is_still_said():
    assert path(("a", 0, "b"), None) == "a[0].b"
    assert path((), {}) == "(top)"


def test_alternatives_of_a_type_are_no_part_of_the_path():
    data = {"after": "staging"}
    assert path(("after", "literal['previous']"), data) == "after"
