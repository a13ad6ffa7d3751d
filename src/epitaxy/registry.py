"""Components found by name: a component's name is its file's name, its signature is its schema."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict, ValidationError, create_model

from epitaxy.errors import RecipeError, did_you_mean

Kind = TypeVar("Kind", bound="Component")
ROOMS = ("backbones", "descriptors", "objectives")


class Component:
    """What backbones, descriptors and objectives share: constants in, presets by name.

    A subclass's constructor takes constants with defaults and keeps each under its own name.
    ``presets`` maps a preset's name to the arguments in which it differs from the defaults.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def preset(cls: type[Kind], preset: str, **overrides: Any) -> Kind:
        """Return the component of a named preset, with some of its arguments replaced.

        Raises RecipeError for an unknown preset, an unknown argument or a value that does not fit.
        """
        return cls(**validated(cls, {"preset": preset, **overrides}))

    def constants(self) -> dict[str, Any]:
        """Return the constructor's arguments that build this component again."""
        return {name: getattr(self, name) for name in _parameters(type(self))}


def names(room: str) -> list[str]:
    """Return the names of a room's components, installed plug-ins included.

    >>> "torchmd_et" in names("backbones")
    True
    """
    return sorted({*_ours(room), *(point.name for point in entry_points(group=f"epitaxy.{room}"))})


def find(room: str, name: str) -> type[Component]:
    """Return the class of a component; a plug-in cannot take one of our names.

    Raises RecipeError that suggests the nearest name, or that names the package of a plug-in that
    cannot be imported, is no component, or has the name of another's.
    """
    if name not in _ours(room):
        points = [point for point in entry_points(group=f"epitaxy.{room}") if point.name == name]
        if not points:
            raise RecipeError(f"no '{name}' among the {room}. {did_you_mean(name, names(room))}")
        if len(points) > 1:
            packages = " and ".join(_package(point) for point in points)
            raise RecipeError(f"'{name}' of the {room} is in {packages}: uninstall all but one.")
        return _loaded(points[0])
    module = importlib.import_module(f"epitaxy.{room}.{name}")
    for member in vars(module).values():
        if (
            inspect.isclass(member)
            and issubclass(member, Component)
            and member.__module__ == module.__name__
            and not inspect.isabstract(member)
        ):
            return member
    raise RecipeError(f"epitaxy.{room}.{name} defines no component.")


def build(room: str, settings: Mapping[str, Any]) -> Any:
    """Build a component from ``{"name": …, "preset": …, argument: value, …}``.

    Raises RecipeError that names the key, the value and the nearest right key.
    """
    if "name" not in settings:
        raise RecipeError(f"a component of the {room} has no name. {did_you_mean('', names(room))}")
    cls = find(room, str(settings["name"]))
    arguments = {key: value for key, value in settings.items() if key != "name"}
    return cls(**validated(cls, arguments))


def name_of(component: Component) -> str:
    """Return the name by which ``build`` finds a component again."""
    room, _, name = type(component).__module__.rpartition(".")
    if room.startswith("epitaxy."):
        return name
    point = _plug_in(component)
    if point is not None:
        return point.name
    return f"{type(component).__module__}.{type(component).__qualname__}"


def package_of(component: Component) -> str | None:
    """Return the package and version that a component is plugged in by; None for our own."""
    point = _plug_in(component)
    return None if point is None else _package(point)


def settings_of(component: Component) -> dict[str, Any]:
    """Return the settings from which ``build`` makes the component again."""
    return {"name": name_of(component), **component.constants()}


def validated(cls: type[Component], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset's arguments with overrides, checked against the constructor's signature."""
    given = dict(arguments)
    preset = given.pop("preset", None)
    start: Mapping[str, Any] = {}
    if preset is not None:
        if preset not in cls.presets:
            raise RecipeError(
                f"{cls.__name__} has no preset '{preset}'. {did_you_mean(str(preset), cls.presets)}"
            )
        start = cls.presets[preset]
    return check_arguments(cls.__name__, _parameters(cls), {**start, **given})


def check_arguments(
    owner: str, parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments converted to the parameters' types; raises RecipeError otherwise."""
    for key in arguments:
        if key not in parameters:
            raise RecipeError(
                f"{owner} has no argument '{key}' (given: {arguments[key]!r}). "
                f"{did_you_mean(key, parameters)}"
            )
    fields: dict[str, Any] = {
        name: (
            Any if parameter.annotation is parameter.empty else parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for name, parameter in parameters.items()
    }
    model = create_model(
        owner, __config__=ConfigDict(arbitrary_types_allowed=True, extra="forbid"), **fields
    )
    try:
        checked = model(**arguments)
    except ValidationError as error:
        raise RecipeError(_explain(owner, error)) from None
    return {name: getattr(checked, name) for name in arguments}


def _ours(room: str) -> list[str]:
    package = importlib.import_module(f"epitaxy.{room}")
    return [m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base"]


def _plug_in(component: Component) -> EntryPoint | None:
    cls = type(component)
    for room in ROOMS:
        for point in entry_points(group=f"epitaxy.{room}"):
            if point.attr == cls.__qualname__ and _loaded(point) is cls:
                return point
    return None


def _loaded(point: EntryPoint) -> type[Component]:
    try:
        cls = point.load()
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"the plug-in '{point.name}' of {_package(point)} cannot be imported: {error}."
        ) from error
    if not (inspect.isclass(cls) and issubclass(cls, Component)):
        raise RecipeError(
            f"the plug-in '{point.name}' of {_package(point)} is no component: {point.value} does "
            "not derive from Backbone, Descriptor or Objective."
        )
    return cls


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.module


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(cls).parameters)


def _explain(owner: str, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            lines.append(f"{owner} needs the argument '{where}'.")
        else:
            lines.append(
                f"{owner}: {where} = {problem['input']!r} does not fit: {problem['msg'].lower()}."
            )
    return "\n".join(lines)
