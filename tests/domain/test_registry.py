from __future__ import annotations

import pytest
from pydantic import Field

from domain.errors import RegistryError, SettingsError
from domain.registry import Registry
from domain.specs import ComponentSpec, PreprocessSpec, Settings


class Width(Settings):
    width: int = Field(default=8, ge=1)


def make() -> Registry[str]:
    registry: Registry[str] = Registry("thing")

    @registry.register("tiny", version=1, params=Width)
    def build(params: Width) -> str:
        return f"width {params.width}"

    return registry


def test_a_component_is_checked_and_built() -> None:
    assert make().build(ComponentSpec(name="tiny", version=1, params={"width": 3})) == "width 3"


def test_a_name_and_version_used_twice_is_refused() -> None:
    registry = make()
    with pytest.raises(RegistryError, match="twice"):
        registry.register("tiny", version=1, params=Width)(lambda params: "")


@pytest.mark.parametrize(("name", "version"), [("tinny", 1), ("tiny", 2)])
def test_an_unknown_name_or_version_lists_what_exists(name: str, version: int) -> None:
    with pytest.raises(RegistryError, match="known: tiny v1"):
        make().build(ComponentSpec(name=name, version=version))


@pytest.mark.parametrize("params", [{"widht": 3}, {"width": 0}, {"width": "3"}])
def test_wrong_parameters_are_refused_before_building(params: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"widht|width"):
        make().build(ComponentSpec(name="tiny", version=1, params=params))


def test_the_digest_of_a_spec_follows_its_content() -> None:
    first = PreprocessSpec(name="a", steps=(ComponentSpec(name="x", version=1, params={"p": 1, "q": 2}),))
    same = PreprocessSpec(name="a", steps=(ComponentSpec(name="x", version=1, params={"q": 2, "p": 1}),))
    other = PreprocessSpec(name="a", steps=(ComponentSpec(name="x", version=2, params={"p": 1, "q": 2}),))
    assert first.digest == same.digest
    assert first.digest != other.digest
