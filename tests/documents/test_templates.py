"""imagegen.documents.templates: every value survives its way through a template."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagegen.base.problems import ImagegenError
from imagegen.documents.templates import (
    NAMES,
    Templates,
    export_templates,
    yaml_block,
    yaml_scalar,
    yaml_text,
)
from tests.conftest import TEMPLATES

# YAML cannot hold lone surrogates, and neither can UTF-8.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
def test_any_text_survives_the_yaml_filter(text):
    """A quoted scalar reads back as the text it was made from, on one line."""
    written = yaml_scalar(text)
    assert yaml.safe_load(written) == text
    assert "\n" not in written


@given(TEXT, st.sampled_from([2, 6]))
def test_any_text_survives_as_content(text, indent):
    """A file's content reads back exactly, block or quoted."""
    document = f"content:\n- key: {yaml_text(text, indent)}\n"
    if indent == 2:
        document = f"key: {yaml_text(text, indent)}\n"
        assert yaml.safe_load(document) == {"key": text}
    else:
        assert yaml.safe_load(document) == {"content": [{"key": text}]}


@settings(deadline=None)
@example({"\u0100" * 400: None})
@given(
    st.recursive(
        TEXT | st.integers() | st.booleans() | st.none(),
        lambda child: st.lists(child) | st.dictionaries(TEXT, child),
        max_leaves=10,
    )
)
def test_any_structure_survives(value):
    """Lists and mappings read back as they were, in flow and in block style."""
    assert yaml.safe_load(yaml_scalar(value)) == value
    assert yaml.safe_load(yaml_block(value)) == value


def test_pem_is_readable_in_the_document():
    """Ordinary text stays ordinary text, so that people can read a seed."""
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n\n-----END CERTIFICATE-----\n"
    assert yaml_text(pem, 2).startswith("|\n  -----BEGIN CERTIFICATE-----\n  MIIB\n")


@pytest.mark.parametrize(
    "text", ["yes", "no", "0600", "1.10", "12:30:45", "~", "", "null", "{{ x }}"]
)
def test_words_that_yaml_would_take_for_something_else(text):
    """They stay text."""
    assert yaml.safe_load(yaml_scalar(text)) == text


def test_all_templates_are_shipped():
    """Every name in the set is a file, and every template file is in the set."""
    there = {path.name for path in TEMPLATES.iterdir()} - {"README.md"}
    assert there == set(NAMES)


def test_a_value_that_does_not_exist_is_an_error(tmp_path):
    """A typing error in a template is not an empty string in a seed."""
    (tmp_path / "hosts.j2").write_text("{{ host }}\n")
    with pytest.raises(ImagegenError, match="'host' is undefined"):
        Templates(tmp_path).render("hosts.j2", hosts=[])


def test_a_broken_template_is_named_with_its_line(tmp_path):
    """The user finds the place without a traceback."""
    (tmp_path / "hosts.j2").write_text("\n\n{% if %}\n")
    with pytest.raises(ImagegenError) as caught:
        Templates(tmp_path).render("hosts.j2", hosts=[])
    assert caught.value.problems[0].where == "hosts.j2:3"


def test_a_users_template_takes_the_place_of_one(tmp_path):
    """The others stay as shipped."""
    (tmp_path / "hosts.j2").write_text("127.0.0.1 localhost\n")
    templates = Templates(tmp_path)
    assert templates.render("hosts.j2") == "127.0.0.1 localhost\n"
    assert "#cloud-config" in (TEMPLATES / "user-data.yaml.j2").read_text()


def test_a_template_that_changes_is_compiled_again(tmp_path):
    """Templates are shared by all clusters of a run, for as long as their files stay the same."""
    shipped = Templates().render("hosts.j2", hosts=[("192.0.2.1", ("a",))])
    for text in ("one", "second", ""):
        (tmp_path / "hosts.j2").write_text(text)
        assert Templates(tmp_path).render("hosts.j2") == text
    (tmp_path / "hosts.j2").unlink()
    assert Templates(tmp_path).render("hosts.j2", hosts=[("192.0.2.1", ("a",))]) == shipped


def test_a_file_that_replaces_nothing_is_an_error(tmp_path):
    """A misspelt template would be ignored in silence."""
    (tmp_path / "userdata.j2").write_text("x")
    with pytest.raises(ImagegenError) as caught:
        Templates(tmp_path)
    assert "userdata.j2" in caught.value.problems[0].where


def test_no_directory(tmp_path):
    """A directory that is not there is an error, not the shipped set."""
    with pytest.raises(ImagegenError):
        Templates(tmp_path / "nowhere")


def test_export_is_the_shipped_set_and_overwrites_nothing(tmp_path):
    """What was exported works unchanged; a second export is refused."""
    export_templates(tmp_path / "mine")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == set(NAMES)
    Templates(tmp_path / "mine")
    with pytest.raises(ImagegenError, match="already exists"):
        export_templates(tmp_path / "mine")


@pytest.mark.parametrize("value", ["", "a b", "a\nb", 'a"b'])
def test_no_odd_word_gets_into_a_unit(tmp_path, value):
    """systemd would split or misread it."""
    (tmp_path / "hosts.j2").write_text("{{ value | unit }}")
    with pytest.raises(ImagegenError, match="one word"):
        Templates(tmp_path).render("hosts.j2", value=value)


def test_percent_in_a_unit_is_no_specifier(tmp_path):
    """A doubled percent sign is one to systemd."""
    (tmp_path / "hosts.j2").write_text("{{ value | unit }}")
    assert Templates(tmp_path).render("hosts.j2", value="/a%b") == "/a%%b"
