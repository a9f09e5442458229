"""A study whose numbers follow from the seed by hand arithmetic."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.results import Check, Numbers, Results


@dataclass(frozen=True)
class Stub(Study):
    claim: ClassVar[str] = "More is more."
    rule: ClassVar[str] = "The fixed variant's score is at least 12, and above the baseline's."
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant("broken", Role.BASELINE, "as it was"),
        Variant("fixed", Role.METHOD, "ten more"),
    )
    measures: ClassVar[dict[str, str]] = {"score": "points", "cost": "seconds"}
    gain: float = 10.0
    fail_at: int = -1

    @classmethod
    def smoke(cls) -> "Stub":
        return cls(gain=1.0)

    def run(self, seed: int, folder: Path) -> Numbers:
        print(f"measuring seed {seed}")
        # Each call leaves a trace, so that a test can count them.
        with (folder.parent.parent / "calls.txt").open("a") as calls:
            calls.write(f"{seed}\n")
        (folder / "scratch").write_text("large")
        if seed == self.fail_at:
            raise RuntimeError("interrupted")
        return {"broken": {"score": float(seed)}, "fixed": {"score": seed + self.gain, "cost": 0.5}}

    def verdict(self, results: Results) -> list[Check]:
        return [results.at_least("fixed", "score", 12.0), results.beats("fixed", "broken", "score")]
