"""Binding: turns a requested composition into layers, or refuses it with the reason.

Nothing here does IO or calls a hook: a request must pass all of this before anything is stored. All configs are
validated before any layer is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError

from errors import InvalidComposition
from runtime.composition.composition import AnyLayer, Composition, LayerSlot
from runtime.config import OperatorRules
from runtime.protocol.problems import problems_text
from runtime.protocol.requests import COMPOSITION_SCHEMA_VERSION, CompositionSpec, LayerSpec, OnExit
from runtime.protocol.snapshots import (
    ENTERABLE,
    SNAPSHOT_SCHEMA_VERSION,
    LayerSnapshot,
    LifecycleState,
    SessionSnapshot,
)

LayerRegistry = Mapping[str, type[AnyLayer]]


def bind_composition(
    spec: CompositionSpec,
    *,
    registry: LayerRegistry,
    on_exit: OnExit,
    snapshot: SessionSnapshot | None,
    pass_over_closed: bool = False,
    rules: OperatorRules | None = None,
) -> Composition:
    """Returns the composition with its layers built, its dependencies bound and its state restored.

    With ``pass_over_closed`` the snapshot may have closed layers, which stay closed and are not entered. Without
    ``rules`` nothing is forbidden.

    Raises InvalidComposition with a text that names the layer and what is wrong with it.
    """
    if spec.schema_version != COMPOSITION_SCHEMA_VERSION:
        raise InvalidComposition(f"composition.schema_version {spec.schema_version} is not supported")
    _check_names(spec.layers)
    types = [_layer_type(layer, registry) for layer in spec.layers]
    _check_single(types)
    _check_dependencies(spec.layers, registry)
    configs = [_parse_config(layer, layer_type) for layer, layer_type in zip(spec.layers, types, strict=True)]
    for layer, layer_type, config in zip(spec.layers, types, configs, strict=True):
        _check_fit(layer, layer_type, config)
    _check_exits(spec.layers, on_exit)
    entries = _snapshot_entries(spec.layers, snapshot, pass_over_closed=pass_over_closed)
    states = [_parse_state(entry, layer_type) for entry, layer_type in zip(entries, types, strict=True)]

    layers = [
        layer_type(layer.name, config, state)
        for layer, layer_type, config, state in zip(spec.layers, types, configs, states, strict=True)
    ]
    by_name = {built.name: built for built in layers}
    for built, requested in zip(layers, spec.layers, strict=True):
        built.deps = {key: by_name[target] for key, target in requested.deps.items()}
    composition = Composition(
        [
            LayerSlot(layer, entry.lifecycle_state, on_exit.layers.get(layer.name, on_exit.default))
            for layer, entry in zip(layers, entries, strict=True)
        ]
    )
    _check_tool_names(composition)
    if rules is not None:
        _check_rules(layers, rules)
    return composition


def parse_layer_config(layer_type: type[AnyLayer], config: Mapping[str, object] | None, *, name: str) -> BaseModel:
    """Returns the validated config of one layer. Raises InvalidComposition, whose text never quotes a value."""
    try:
        return layer_type.config_type.model_validate(config or {})
    except ValidationError as error:
        raise InvalidComposition(f"layer '{name}': config is invalid: {problems_text(error)}") from None


def _check_names(layers: Sequence[LayerSpec]) -> None:
    seen: set[str] = set()
    for layer in layers:
        if not layer.name.strip():
            raise InvalidComposition("a layer has an empty name")
        if layer.name in seen:
            raise InvalidComposition(f"layer name '{layer.name}' is used twice")
        seen.add(layer.name)


def _layer_type(layer: LayerSpec, registry: LayerRegistry) -> type[AnyLayer]:
    layer_type = registry.get(layer.type)
    if layer_type is None:
        raise InvalidComposition(f"layer '{layer.name}': Layer type id '{layer.type}' is not registered.")
    if layer_type.required_name is not None and layer.name != layer_type.required_name:
        raise InvalidComposition(
            f"layer '{layer.name}': a layer of type '{layer.type}' must be named '{layer_type.required_name}'"
        )
    owners = [known for known in registry.values() if layer.name in (known.required_name, known.reserved_name)]
    if owners and layer_type not in owners:
        told = " or ".join(f"'{owner.type_id}'" for owner in owners)
        raise InvalidComposition(f"layer '{layer.name}': this name is reserved for layers of type {told}")
    return layer_type


def _check_single(types: Sequence[type[AnyLayer]]) -> None:
    for layer_type in types:
        if layer_type.at_most_one and types.count(layer_type) > 1:
            raise InvalidComposition(f"there may be only one layer of type '{layer_type.type_id}'")


def _check_dependencies(layers: Sequence[LayerSpec], registry: LayerRegistry) -> None:
    types_by_name = {layer.name: layer.type for layer in layers}
    for layer in layers:
        known = {dependency.key: dependency for dependency in registry[layer.type].dependencies}
        for key, target in layer.deps.items():
            if key not in known:
                raise InvalidComposition(f"layer '{layer.name}': type '{layer.type}' has no dependency '{key}'")
            if target not in types_by_name:
                raise InvalidComposition(f"layer '{layer.name}': dependency '{key}' names no layer: '{target}'")
            if types_by_name[target] != known[key].type_id:
                raise InvalidComposition(
                    f"layer '{layer.name}': dependency '{key}' must be a layer of type '{known[key].type_id}', "
                    f"but '{target}' is '{types_by_name[target]}'"
                )
        for dependency in known.values():
            if dependency.required and dependency.key not in layer.deps:
                raise InvalidComposition(f"layer '{layer.name}': dependency '{dependency.key}' is missing")


def _parse_config(layer: LayerSpec, layer_type: type[AnyLayer]) -> BaseModel:
    return parse_layer_config(layer_type, layer.config, name=layer.name)


def _check_fit(layer: LayerSpec, layer_type: type[AnyLayer], config: BaseModel) -> None:
    try:
        layer_type.check_dependencies(config, layer.deps)
    except ValueError as error:
        raise InvalidComposition(f"layer '{layer.name}': {error}") from None


def _check_exits(layers: Sequence[LayerSpec], on_exit: OnExit) -> None:
    names = {layer.name for layer in layers}
    for name in on_exit.layers:
        if name not in names:
            raise InvalidComposition(f"on_exit.layers names no layer: '{name}'")


def _check_rules(layers: Sequence[AnyLayer], rules: OperatorRules) -> None:
    for layer in layers:
        try:
            layer.check_rules(rules)
        except ValueError as error:
            raise InvalidComposition(f"layer '{layer.name}': {error}") from None


def _check_tool_names(composition: Composition) -> None:
    names: set[str] = set()
    for name in composition.tool_names():
        if name in names:
            raise InvalidComposition(f"tool name '{name}' is used twice")
        names.add(name)


def _snapshot_entries(
    layers: Sequence[LayerSpec], snapshot: SessionSnapshot | None, *, pass_over_closed: bool
) -> list[LayerSnapshot]:
    if snapshot is None:
        return [
            LayerSnapshot(name=layer.name, lifecycle_state=LifecycleState.NEW, runtime_state={}) for layer in layers
        ]
    if snapshot.schema_version != SNAPSHOT_SCHEMA_VERSION:
        raise InvalidComposition(f"session_snapshot.schema_version {snapshot.schema_version} is not supported")
    if [entry.name for entry in snapshot.layers] != [layer.name for layer in layers]:
        raise InvalidComposition("session_snapshot must have the layers of the composition, in the same order")
    accepted = ENTERABLE | {LifecycleState.CLOSED} if pass_over_closed else ENTERABLE
    for entry in snapshot.layers:
        if entry.lifecycle_state not in accepted:
            raise InvalidComposition(
                f"session_snapshot: layer '{entry.name}' is '{entry.lifecycle_state}' and cannot be entered"
            )
    return list(snapshot.layers)


def _parse_state(entry: LayerSnapshot, layer_type: type[AnyLayer]) -> BaseModel:
    try:
        return layer_type.state_type.model_validate(entry.runtime_state)
    except ValidationError as error:
        raise InvalidComposition(
            f"session_snapshot: layer '{entry.name}': runtime_state is invalid: {problems_text(error)}"
        ) from None
