"""Fits a session snapshot to layers other than those it was made from."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from runtime.layers.registry import LAYER_TYPES
from runtime.protocol.requests import LayerSpec
from runtime.protocol.snapshots import ENTERABLE, LayerSnapshot, LifecycleState, SessionSnapshot


def project(snapshot: SessionSnapshot | None, layers: Sequence[LayerSpec], *, checked: bool = False) -> SessionSnapshot:
    """Returns the snapshot for these layers: each keeps what the layer of its name has remembered, or begins anew.

    With ``checked``, what a layer cannot read, because its type has changed since, is forgotten.
    """
    known = {entry.name: entry for entry in snapshot.layers} if snapshot is not None else {}
    return SessionSnapshot(layers=[_entry(layer, known.get(layer.name), checked=checked) for layer in layers])


def _entry(layer: LayerSpec, known: LayerSnapshot | None, *, checked: bool) -> LayerSnapshot:
    if known is None or known.lifecycle_state not in ENTERABLE or (checked and not _can_read(layer, known)):
        return LayerSnapshot(name=layer.name, lifecycle_state=LifecycleState.NEW, runtime_state={})
    return known


def _can_read(layer: LayerSpec, entry: LayerSnapshot) -> bool:
    try:
        LAYER_TYPES[layer.type].state_type.model_validate(entry.runtime_state)
    except ValidationError:
        return False
    return True
