"""`aakit list-plugins` and `aakit show`."""

from __future__ import annotations

import json

import pytest

from aaclip_kit.plugin_host.discovery import discover

from ..command import Command
from .conftest import assert_plain


def lines(text: str) -> dict[str, str]:
    """First word of each line to the rest, blanks collapsed."""
    split = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return {words[0]: " ".join(words[1].split()) if len(words) > 1 else "" for words in split}


def test_list_plugins_names_every_component_with_its_package(aakit: Command) -> None:
    ran = aakit("list-plugins")
    assert (ran.code, ran.err) == (0, "")
    listed = [" ".join(line.split()) for line in ran.out.splitlines()]
    for component in discover().components.values():
        start = f"{component.kind} {component.name} {component.plugin.package} {component.plugin.version} "
        (line,) = [line for line in listed if line.startswith(start)]
        assert component.description.startswith(line.removeprefix(start)[:40])


def test_list_plugins_as_json_holds_the_same(aakit: Command) -> None:
    ran = aakit("list-plugins", "--json")
    found = json.loads(ran.out)
    assert {(one["kind"], one["name"]) for one in found["components"]} == set(discover().components)
    (backbone,) = [one for one in found["components"] if one["name"] == "open_clip"]
    assert backbone["module"] == "aaclip_kit_plugins.open_clip"
    assert backbone["package"] == "aaclip-kit"
    assert backbone["description"]


def test_show_prints_types_defaults_bounds_and_meaning(aakit: Command) -> None:
    ran = aakit("show", "text_to_image")
    assert ran.code == 0
    assert ran.out.startswith("attention-stage text_to_image\n")
    assert "from aaclip-kit" in ran.out
    assert "(aaclip_kit_plugins.attention)" in ran.out
    options = lines(ran.out)
    assert options["heads"].startswith("int >= 1 8 attention heads")
    assert options["scale"].startswith("float >= 0, <= 10 0.1 strength")
    assert options["dropout"].startswith("float >= 0, < 1 0.1 ")
    assert options["after"].startswith("list of int >= 0, not empty [0] block numbers")
    assert options["norm_matched"].startswith("bool true ")
    assert options["tower"].startswith('"text" "text" ')


def test_show_tells_what_is_required_and_what_may_be_left_out(aakit: Command) -> None:
    assert lines(aakit("show", "residual_adapter").out)["tower"].startswith('"text" | "vision" required ')
    assert lines(aakit("show", "open_clip").out)["image_size"].startswith("int >= 1, <= 4096 unset ")
    folder = lines(aakit("show", "folder").out)
    assert folder["root"].startswith("path required ")


@pytest.mark.parametrize("name", sorted({name for _, name in discover().components}))
def test_show_names_every_option_of_every_component(aakit: Command, name: str) -> None:
    ran = aakit("show", name)
    assert ran.code == 0
    shown = lines(ran.out)
    for (_, other), component in discover().components.items():
        if other == name:
            for option, info in component.options.model_fields.items():
                first_words = " ".join((info.description or "").split()[:2])
                assert first_words in shown[option]
                assert "Annotated" not in shown[option]


@pytest.mark.parametrize(("name", "near"), [("text_to_imag", "text_to_image"), ("feedbck", "feedback"), ("zzz", None)])
def test_an_unknown_name_is_refused_with_the_nearest(aakit: Command, name: str, near: str | None) -> None:
    ran = aakit("show", name)
    assert_plain(ran)
    assert f"there is no component called '{name}'" in ran.err
    assert (f"did you mean '{near}'?" in ran.err) == (near is not None)
    assert "open_clip" in ran.err


@pytest.mark.parametrize("arguments", [["--help"], [], ["run", "--help"], ["validate", "--help"], ["show", "--help"]])
def test_help_names_what_there_is(aakit: Command, arguments: list[str]) -> None:
    ran = aakit(*arguments)
    text = ran.out + ran.err
    assert "Usage: aakit" in text
    if arguments in (["--help"], []):
        assert all(command in text for command in ("run", "validate", "list-plugins", "show", "--debug"))
    if arguments[:1] == ["run"]:
        assert all(option in text for option in ("--out", "--set", "--device", "--seed", "--dry-run"))
