from decimal import Decimal

import pytest

from headrace.scaler.spec import Placement, parse, quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", "0.5"), (2, "2"), (1.5, "1.5"), ("1k", "1000"), ("1Ki", "1024"), ("1Gi", "1073741824"), (".5", "0.5"),
     ("1E", "1000000000000000000"), ("1e3", "1000"), ("1E3", "1000"), ("12E-1", "1.2"), ("0", "0"), ("1.", "1")],
)  # fmt: skip
def test_quantities(text: object, number: str) -> None:
    assert quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "m", "-1", "1 Gi", "1GB", True, "1e", "1.2.3"])
def test_what_is_no_quantity(text: object) -> None:
    with pytest.raises(ValueError, match="expected a quantity such as `500m` or `1Gi`, got"):
        quantity(text)


def test_resources_and_placement_are_read() -> None:
    spec = parse({
        "resources": {"requests": {"cpu": "500m", "hugepages-2Mi": "4Mi"}, "limits": {"nvidia.com/gpu": 1}},
        "placement": {"nodeSelector": {"gpu": "a100"}, "tolerations": [{"key": "k", "effect": "NoSchedule"}],
                      "affinity": {"nodeAffinity": {"any": 1}}, "runtimeClassName": "nvidia"},
    })  # fmt: skip
    assert spec.resources.limits == {"nvidia.com/gpu": 1}
    assert spec.placement.node_selector == {"gpu": "a100"}
    assert spec.placement.runtime_class_name == "nvidia"
    assert parse({}).placement == Placement()
