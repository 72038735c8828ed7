"""Camfleet's explainer with a worker's settings, as a process to measure."""

from importlib.metadata import version
from importlib.util import find_spec

import numpy as np

from benchmarks.peer import given, serve
from camfleet.contract.targets import parse_target
from camfleet.registry import cards
from camfleet.settings import Settings
from camfleet_worker.process import runtime


def main() -> None:
    folder, _, photos = given()
    settings = Settings(batch_size=len(photos))
    runtime.configure(settings)
    from camfleet_worker.models.build import ModelKey, build_explainer
    from camfleet_worker.models.choose import EngineSelector

    card = cards.load_card(folder / "card.toml")
    key = ModelKey("", "auto", None)
    path = folder / card.artifact
    made = build_explainer(card, path, key=key, golden=None, selector=EngineSelector(settings))
    targets = [parse_target("top")] * len(photos)
    explained = [each[0] for each in made.explain(photos, targets, "gradcam")]
    np.save(folder / "camfleet.npy", np.stack([each.raw for each in explained]))
    serve(
        {"camfleet": lambda: made.explain(photos, targets, "gradcam")},
        len(photos),
        versions={name: version(name) for name in ("camfleet", "openvino") if find_spec(name)},
        engine=made.engines[0].name,
        layer=made.layer,
        classes=[each.class_index for each in explained],
    )


if __name__ == "__main__":
    main()
