"""Named, versioned components: register by decorator, list what exists, refuse a name used twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from domain.errors import RegistryError, SettingsError
from domain.specs import ComponentSpec, describe_validation_error

Built = TypeVar("Built")
Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Component(Generic[Built]):
    """A registered builder and the pydantic model that checks its ``params``."""

    name: str
    version: int
    params_model: type[BaseModel]
    build: Callable[..., Built]


class Registry(Generic[Built]):
    """Components of one kind.

    Example:
        >>> from pydantic import BaseModel
        >>> class Params(BaseModel):
        ...     width: int = 8
        >>> BACKBONES: Registry[str] = Registry("backbone")
        >>> @BACKBONES.register("tiny", version=1, params=Params)
        ... def build(params: Params) -> str:
        ...     return f"tiny of width {params.width}"
        >>> BACKBONES.build(ComponentSpec(name="tiny", version=1, params={"width": 4}))
        'tiny of width 4'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._components: dict[tuple[str, int], Component[Built]] = {}

    def register(self, name: str, *, version: int, params: type[BaseModel]) -> Callable[[Builder], Builder]:
        """Register a builder ``(params, **context) -> Built`` under a name and version.

        Raises:
            RegistryError: The name and version are taken.
        """

        def decorator(build: Builder) -> Builder:
            key = (name, version)
            if key in self._components:
                raise RegistryError(f"{self.kind} {name!r} version {version} is registered twice")
            self._components[key] = Component(name, version, params, build)
            return build

        return decorator

    def names(self) -> list[tuple[str, int]]:
        """All registered (name, version), sorted."""
        return sorted(self._components)

    def find(self, spec: ComponentSpec) -> Component[Built]:
        """The component a spec names.

        Raises:
            RegistryError: Name or version unknown; lists what exists.
        """
        component = self._components.get((spec.name, spec.version))
        if component is None:
            known = ", ".join(f"{name} v{version}" for name, version in self.names()) or "none"
            raise RegistryError(f"unknown {self.kind} {spec.name!r} version {spec.version}; known: {known}")
        return component

    def check(self, spec: ComponentSpec) -> BaseModel:
        """Validate ``spec.params`` without building anything.

        Raises:
            RegistryError: The component is unknown.
            SettingsError: A parameter is misspelt, missing or out of range.
        """
        component = self.find(spec)
        try:
            # Through JSON: strict Python mode would refuse YAML lists where tuples are meant.
            return component.params_model.model_validate_json(json.dumps(spec.params))
        except ValidationError as error:
            source = f"params of {self.kind} {spec.name!r} v{spec.version}"
            raise SettingsError(source, describe_validation_error(error)) from error

    def build(self, spec: ComponentSpec, **context: object) -> Built:
        """Check the parameters, then build. ``context`` is passed on to the builder by keyword."""
        return self.find(spec).build(self.check(spec), **context)
