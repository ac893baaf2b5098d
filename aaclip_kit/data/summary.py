"""What a data set holds, class by class, as plain data."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..contracts.data import Sample
from .survey import FileFacts, Survey


def summary(found: Survey) -> dict[str, Any]:
    """Counts of images and classes, the checksum, and for each class its counts, masks, defects and image sizes."""
    by_class: dict[str, list[tuple[Sample, FileFacts]]] = {}
    for sample, facts in found.pairs:
        by_class.setdefault(sample.class_name, []).append((sample, facts))
    real_names = found.data.real_names
    return {
        "name": found.data.name,
        "domain": found.data.domain,
        "count": len(found.facts),
        "sha256": found.fingerprint().sha256,
        "classes": {name: {"real_name": real_names.get(name), **_of_class(pairs)} for name, pairs in by_class.items()},
    }


def _of_class(pairs: Sequence[tuple[Sample, FileFacts]]) -> dict[str, Any]:
    anomalous = [sample for sample, _ in pairs if sample.label]
    sizes = Counter(facts.size for _, facts in pairs)
    return {
        "normal": len(pairs) - len(anomalous),
        "anomalous": len(anomalous),
        "masks": sum(sample.mask is not None for sample in anomalous),
        "black_masks": sum(facts.blank for sample, facts in pairs if sample.label),
        "defects": dict(sorted(Counter(sample.defect for sample in anomalous if sample.defect).items())),
        "sizes": [{"width": w, "height": h, "count": sizes[w, h]} for w, h in sorted(sizes, key=lambda s: s[0] * s[1])],
    }
