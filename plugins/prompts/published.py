"""States and templates of the published ensembles, in order. Facts; sources: the papers' code, method: section 2."""

from typing import Final, NamedTuple


class Words(NamedTuple):
    """States of sound and of defective things, and the templates that each stands in."""

    normal: tuple[str, ...]
    abnormal: tuple[str, ...]
    templates: tuple[str, ...]


_WITH: Final = ("{} with flaw", "{} with defect", "{} with damage")
_SOUND: Final = (
    "{}", "flawless {}", "perfect {}", "unblemished {}", "{} without flaw", "{} without defect", "{} without damage",
)  # fmt: skip
_LOOKS: Final = (
    "bad", "low resolution", "cropped", "bright", "dark", "blurry", "black and white", "jpeg corrupted", "good",
    "close-up",
)  # fmt: skip

_APRIL_GAN: Final = (
    *(f"a {look} photo of {article} {{}}." for article in ("the", "a") for look in _LOOKS),
    *(f"a photo of {what} {{}}." for what in ("the", "a", "my", "one")),
    *(f"a photo of {article} {size} {{}}." for size in ("cool", "large", "small") for article in ("the", "a")),
    *(f"{what} {{}} in the scene." for what in ("there is a", "there is the", "this is a", "this is the")),
    "this is one {} in the scene.",
)

_WIN_CLIP_END: Final = (
    *(f"a photo of {what} {{}}." for what in ("a", "the", "a small", "the small", "a large", "the large")),
    *(f"a photo of {article} {{}} for {purpose}." for purpose in ("visual inspection", "anomaly detection")
      for article in ("the", "a")),
)  # fmt: skip


def _win_clip(cropped: tuple[str, ...], jpeg: tuple[str, ...]) -> tuple[str, ...]:
    """The templates of WinCLIP, with these articles after "cropped" and "jpeg corrupted"."""
    looks = {
        "cropped": cropped, "close-up": ("a", "the"), "bright": ("a", "the"), "dark": ("the", "a"),
        "jpeg corrupted": jpeg, "blurry": ("the", "a"),
    }  # fmt: skip
    named = (f"a {look} photo of {article} {{}}." for look, articles in looks.items() for article in articles)
    return (*named, *_WIN_CLIP_END)


ENSEMBLES: Final[dict[str, Words]] = {
    "aa_clip": Words(
        ("{}", "a {}", "the {}"),
        ("a damaged {}", "a broken {}", *(f"a {state}" for state in _WITH)),
        ("{}.", "a photo of {}."),
    ),
    "april_gan": Words(_SOUND, ("damaged {}", "broken {}", *_WITH), _APRIL_GAN),
    "win_clip": Words(_SOUND, ("damaged {}", *_WITH), _win_clip(("the", "a"), ("the", "a"))),
    # One template is missing there, and another stands twice.
    "win_clip_published": Words(_SOUND, ("damaged {}", *_WITH), _win_clip(("the",), ("the", "the"))),
    "ada_clip": Words(
        _SOUND,
        ("damaged {}", "broken {}", *_WITH),
        ("a bad photo of a {}.", "a low resolution photo of the {}.", "a bad photo of the {}.",
         "a cropped photo of the {}."),
    ),
}  # fmt: skip
