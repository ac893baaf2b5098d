"""Finding plugins, and what becomes of broken ones: they are shown, and harm only those who name them."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

import aaclip_kit
from aaclip_kit import Options, UserError
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host import hookspecs
from aaclip_kit.plugin_host.discovery import GROUP, discover
from aaclip_kit.plugin_host.registration import HOOKS
from aaclip_kit.plugin_host.registry import KINDS, Component, Plugin

from ..command import Command
from ..strangers import GOOD_LOSS, Strangers

pytestmark = pytest.mark.usefixtures("undrawn")

DOCS = Path(__file__).parents[2] / "docs" / "plugins" / "index.md"
HEAD = "from aaclip_kit import Options, StageOptions, hookimpl\nclass Some(Options):\n    'Some.'\n"

BROKEN = {
    "raises_at_import": ("raise RuntimeError('no such luck')", "RuntimeError: no such luck"),
    "leaves_at_import": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "is_no_python": ("def (", "SyntaxError"),
    "needs_a_module": ("import a_module_that_nobody_has", "ModuleNotFoundError: No module named 'a_module_that"),
    "raises_in_a_hook": (
        f"{HEAD}@hookimpl\ndef register_losses(register):\n"
        "    register('half', print, Some)\n    raise KeyError('later')",
        "KeyError: 'later'",
    ),
    "misspells_a_marked_hook": (
        f"{HEAD}@hookimpl\ndef register_loses(register): pass",
        "there is no hook register_loses; did you mean register_losses?",
    ),
    "misspells_an_unmarked_hook": (
        f"{HEAD}def register_backbone(register): pass\n@hookimpl\ndef register_losses(register):\n"
        "    register('a_loss', print, Some)",
        "there is no hook register_backbone; did you mean register_backbones?",
    ),
    "marks_what_is_no_hook": (f"{HEAD}@hookimpl\ndef paint(register): pass", "there is no hook paint; known hooks"),
    "forgets_the_mark": (f"{HEAD}def register_losses(register): pass", "register_losses lacks the decorator"),
    "wants_other_arguments": (f"{HEAD}@hookimpl\ndef register_losses(registry): pass", "PluginValidationError"),
    "has_no_hook": (HEAD, "implements no hook; known hooks: register_backbones"),
    "registers_nothing": (f"{HEAD}@hookimpl\ndef register_losses(register): pass", "implements no hook"),
    "has_no_options_model": (
        f"{HEAD}@hookimpl\ndef register_losses(register): register('x', print, dict)",
        "options of loss 'x' must be a subclass of aaclip_kit.Options, not <class 'dict'>",
    ),
    "gives_an_options_object": (
        f"{HEAD}@hookimpl\ndef register_losses(register): register('x', print, Some())",
        "options of loss 'x' must be a subclass",
    ),
    "has_no_factory": (
        f"{HEAD}@hookimpl\ndef register_losses(register): register('x', 'module.attribute', Some)",
        "factory of loss 'x' must be callable or 'module:attribute', not 'module.attribute'",
    ),
    "has_no_name": (
        f"{HEAD}@hookimpl\ndef register_losses(register): register(3, print, Some)",
        "the name of a loss must be a text, not 3",
    ),
    "repeats_itself": (
        f"{HEAD}@hookimpl\ndef register_losses(register):\n    for _ in range(2): register('x', print, Some)",
        "loss 'x' is registered twice by the same plugin",
    ),
    "takes_the_weight": (
        f"{HEAD}class Mine(Options):\n    weight: float = 1.0\n"
        "@hookimpl\ndef register_losses(register): register('x', print, Mine)",
        "options of loss 'x' may not have a key 'weight'",
    ),
    "takes_the_use": (
        f"{HEAD}class Mine(Options):\n    use: str = ''\n"
        "@hookimpl\ndef register_data_sets(register): register('x', print, Mine)",
        "options of data-set 'x' may not have a key 'use'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_shown_and_harms_no_other(strangers: Strangers, name: str) -> None:
    source, reason = BROKEN[name]
    entries = [strangers.add(name, source), strangers.add("zz_good", GOOD_LOSS)]
    registry = discover(entries)
    (failure,) = registry.failures
    assert failure.plugin.package == f"{name}-dist"
    assert reason in failure.reason
    assert "\n" not in failure.reason
    assert list(registry.components) == [("loss", "good")], "nothing of the broken plugin is there, all of the other is"


@pytest.mark.parametrize("value", ["not-a-module", "a module", "no_such_module_anywhere", "json:no_such_attribute"])
def test_an_entry_point_that_leads_nowhere_is_shown(value: str) -> None:
    registry = discover([EntryPoint("lost", value, "aaclip_kit")])
    (failure,) = registry.failures
    assert (failure.plugin.name, failure.plugin.package) == ("lost", "unknown")
    assert failure.plugin.module == value.partition(":")[0]


def test_a_distribution_without_metadata_is_no_reason_to_fail(strangers: Strangers) -> None:
    registry = discover([strangers.add("bare", GOOD_LOSS, version=None)])
    assert registry.names("loss") == ["good"]


def test_a_name_of_two_owners_is_usable_from_neither(strangers: Strangers) -> None:
    both = GOOD_LOSS + '    register("only_{0}", "nowhere:Good", GoodOptions)\n'
    entries = [strangers.add(f"owner_{number}", both.format(number)) for number in "abc"]
    registry = discover(entries[:2])
    assert registry.names("loss") == ["only_a", "only_b"]
    assert registry.failures == []
    with pytest.raises(UserError) as caught:
        registry.get("loss", "good", "file.toml: losses.text.x.use")
    message = str(caught.value)
    assert message.startswith("file.toml: losses.text.x.use: loss 'good' is registered twice")
    assert "owner_a-dist 2.0 (owner_a) and owner_b-dist 2.0 (owner_b)" in message
    assert "fix: uninstall one" in message
    with pytest.raises(UserError, match="owner_c-dist"):
        discover(entries).get("loss", "good")


def test_one_name_in_two_kinds_is_no_clash(strangers: Strangers) -> None:
    more = "\n@hookimpl\ndef register_data_sets(register):\n    register('good', print, GoodOptions)\n"
    registry = discover([strangers.add("double", GOOD_LOSS + more)])
    assert set(registry.components) == {("loss", "good"), ("data-set", "good")}


def test_discovery_does_not_depend_on_the_order_of_entry_points(strangers: Strangers) -> None:
    entries = [strangers.add(name, GOOD_LOSS) for name in ("one", "two")]
    assert discover(entries).clashes == discover(entries[::-1]).clashes


def test_a_missing_name_tells_of_the_plugins_that_failed(strangers: Strangers) -> None:
    registry = discover([strangers.add("broken", "raise RuntimeError('no such luck')")])
    with pytest.raises(UserError, match=r"plugins that failed to load: broken: RuntimeError: no such luck"):
        registry.get("loss", "mine")


def test_experiments_that_do_not_name_the_broken_plugin_are_valid(strangers: Strangers, small_experiment: Path) -> None:
    strangers.add("broken", "raise RuntimeError('no such luck')")
    strangers.add("twice", GOOD_LOSS.replace('"good"', '"dice"'))
    registry = discover()
    assert [failure.plugin.name for failure in registry.failures] == ["broken"]
    load(small_experiment, registry)
    with pytest.raises(UserError, match=r"'dice' is registered twice, by .*aaclip-kit .* and twice-dist 2\.0"):
        load(small_experiment, registry, ["losses.text.segmentation.use=dice"])


def test_listing_never_fails(strangers: Strangers, aakit: Command) -> None:
    for name, (source, _) in BROKEN.items():
        strangers.add(name, source)
    strangers.add("hyphenated", GOOD_LOSS, value="not-a-module")
    strangers.add("twice", GOOD_LOSS.replace('"good"', '"dice"'))
    code, out, err = aakit("list-plugins")
    assert (code, err) == (0, "")
    listed = " ".join(out.split())
    assert "loss segmentation" in listed
    assert "not usable: loss 'dice' is registered twice" in listed
    assert "no such luck" in listed
    code, out, _ = aakit("list-plugins", "--json")
    found = json.loads(out)
    assert code == 0
    assert len(found["problems"]) == len(BROKEN) + 2
    assert {"kind", "name", "description", "package", "version", "module"} == set(found["components"][0])


FACTORY = f"""
{HEAD}
def build(options):
    raise ZeroDivisionError("of the plugin's own")
@hookimpl
def register_losses(register):
    register("raises", build, Some)
    register("no_module", "a_module_that_nobody_has:Loss", Some)
    register("no_attribute", "json:Loss", Some)
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "the factory of loss 'raises' raised ZeroDivisionError: of the plugin's own"),
        ("no_module", "raised ModuleNotFoundError: No module named 'a_module_that_nobody_has'"),
        ("no_attribute", "raised AttributeError: module 'json' has no attribute 'Loss'"),
    ],
)
def test_what_a_factory_raises_is_its_plugins_error(
    strangers: Strangers,
    aakit: Command,
    small_experiment: Path,
    tmp_path: Path,
    name: str,
    said: str,
) -> None:
    strangers.add("factories", FACTORY)
    arguments = ["run", small_experiment, "--out", tmp_path / "out", "--set", f"losses.text.extra.use={name}"]
    code, _, err = aakit(*arguments)
    assert code == 2
    assert err.startswith(f"error: factories-dist 2.0 (factories): the factory of loss '{name}'")
    assert said in err
    assert "fix: " in err
    assert "--debug" in err
    assert "Traceback" not in err
    code, _, err = aakit("--debug", *arguments)
    assert code == 2
    assert "Traceback" in err
    assert said in err
    if name == "raises":
        assert "factories.py" in err, "the traceback leads into the plugin"
    assert not (tmp_path / "out").exists()


def test_a_factory_named_by_text_is_imported_when_first_used(strangers: Strangers) -> None:
    source = """
        from aaclip_kit import Loss
        class Good(Loss):
            def __init__(self, options):
                super().__init__()
                self.options = options
            def forward(self):
                return {}
    """
    strangers.add("later", source)
    entry = strangers.add("eager", GOOD_LOSS.replace("nowhere:Good", "later:Good"))
    component = discover([entry]).get("loss", "good")
    assert "later" not in sys.modules
    options = component.options()
    assert component.build(options).options is options
    assert "later" in sys.modules


def test_a_user_error_of_a_factory_stays_as_it_is(strangers: Strangers) -> None:
    source = "from aaclip_kit import UserError\ndef Good(options): raise UserError('p', where='w', fix='f')"
    strangers.add("later", source)
    component = discover([strangers.add("eager", GOOD_LOSS.replace("nowhere:Good", "later:Good"))]).get("loss", "good")
    with pytest.raises(UserError) as caught:
        component.build(component.options())
    assert str(caught.value) == "w: p\n    fix: f"


# The hooks themselves.

HOOK_NAMES = [name for name, value in inspect.getmembers(hookspecs) if hasattr(value, "aaclip_kit_spec")]


def test_every_hookspec_has_a_kind_and_every_kind_a_hookspec() -> None:
    assert set(HOOK_NAMES) == set(HOOKS)
    assert sorted(HOOKS.values()) == sorted(KINDS)


@pytest.mark.parametrize("hook", HOOK_NAMES)
def test_every_hook_is_called_by_discovery(strangers: Strangers, hook: str) -> None:
    entry = strangers.add("caller", f"{HEAD}@hookimpl\ndef {hook}(register): register('it', print, Some)")
    assert set(discover([entry]).components) == {(HOOKS[hook], "it")}


@pytest.mark.parametrize("hook", HOOK_NAMES)
def test_every_hook_is_documented_with_what_its_factory_is_given(hook: str) -> None:
    text = DOCS.read_text(encoding="utf-8")
    call = re.search(r"`(factory\(.*?\))`", inspect.getdoc(getattr(hookspecs, hook)) or "")
    assert call, f"the docstring of {hook} does not say how the factory is called"
    assert f"| `{hook}` | `{call[1]}` |" in text
    kind = HOOKS[hook]
    assert f"](kinds/{kind}.md) |" in text


@pytest.mark.parametrize("hook", HOOK_NAMES)
def test_every_hook_is_used_by_a_built_in_plugin(hook: str) -> None:
    kinds = {component.kind for component in discover().components.values() if component.plugin.package == "aaclip-kit"}
    assert HOOKS[hook] in kinds


@pytest.mark.parametrize(
    ("package", "said"), [("aaclip-kit", "/data/x: data-set 'it' cannot use it"), ("other", "mend the plugin")]
)
def test_what_the_system_refuses_to_a_factory_of_our_own_is_no_fault_of_the_plugin(package: str, said: str) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied", "/data/x")

    component = Component("data-set", "it", refuse, Options, Plugin("it", "module", package, "1"))
    with pytest.raises(UserError) as caught:
        component.build(Options())
    assert said in str(caught.value) and caught.value.fix
    assert ("mend the plugin" in str(caught.value)) == (package == "other")


def test_every_public_name_is_documented() -> None:
    pages = [DOCS, *DOCS.parent.glob("kinds/*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    for name in aaclip_kit.__all__:
        assert name == "__version__" or re.search(rf"\b{name}\b", text), f"{name} is in no page for plugin authors"


def test_built_in_plugins_have_no_problems_and_every_component_a_description() -> None:
    built_in = [entry for entry in entry_points(group=GROUP) if entry.value.startswith("aaclip_kit_plugins")]
    registry = discover(built_in)
    assert (registry.failures, registry.clashes) == ([], {})
    assert all(component.description for component in registry.components.values())


@pytest.mark.parametrize("arguments", [["--help"], ["list-plugins"], ["show", "open_clip"], ["validate", "FILE"]])
def test_commands_that_build_nothing_do_not_import_torch(small_experiment: Path, arguments: list[str]) -> None:
    words = [str(small_experiment) if word == "FILE" else word for word in arguments]
    command = [sys.executable, "-X", "importtime", "-m", "aaclip_kit", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "aaclip_kit.cli" in imported
    assert not imported & {"torch", "open_clip", "numpy", "scipy", "PIL", "matplotlib", "jaxtyping"}


def test_names_with_torch_are_found_and_others_are_not() -> None:
    for name in aaclip_kit.__all__:
        assert getattr(aaclip_kit, name) is not None
    assert not hasattr(aaclip_kit, "no_such_name")
