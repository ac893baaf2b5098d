"""Every plugin: whether it loads, how long that takes, and names that two of them claim."""

from collections.abc import Iterator

from ..plugin_host.discovery import discover
from ..plugin_host.registry import TRACEBACK, Failure
from .finding import Finding


def plugins() -> Iterator[Finding]:
    """What loading all plugins shows, as `aakit list-plugins` does."""
    registry = discover()
    owners = {component.plugin for component in registry.components.values()}
    if owners:
        count = f"{len(registry.components)} components of {len(owners)} plugins"
        yield Finding("plugins", "good", f"{count} ({', '.join(sorted({owner.package for owner in owners}))})")
    else:
        advice = "the built-in ones come with the package: python -m pip install --force-reinstall --no-deps aaclip-kit"
        yield Finding("plugins", "bad", "there is no component that could be used", advice)
    for (kind, name), claimants in registry.clashes.items():
        found = f"{kind} '{name}' is registered twice, by {' and '.join(map(str, claimants))}"
        yield Finding("plugins", "bad", found, "uninstall one of them")
    yield from map(_failed, registry.failures)
    for plugin, seconds in registry.slow.items():
        advice = "nothing, if the disk was slow; else its own module should import torch only where it needs it"
        yield Finding(f"plugin {plugin.name}", "note", f"{plugin} took {seconds:.1f} s to load", advice)


def _failed(failure: Failure) -> Finding:
    plugin = failure.plugin
    advice = f"mend or uninstall it (python -m pip uninstall {plugin.package}); {TRACEBACK}"
    return Finding(f"plugin {plugin.name}", "bad", f"{plugin} cannot be used: {failure.reason}", advice)
